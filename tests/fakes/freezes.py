"""Freeze objects in memory: a fake that passes the real adapter's contract suite."""

from collections.abc import Sequence

from rollout.core.freeze import EVERYWHERE, Freeze, FreezeSpec, freeze_name
from rollout.core.route import Unavailable
from rollout.ports import NotFound, Outage, Refused


class FakeFreezes:
    """In-memory `ports.Freezes`; `home` is the namespace in which a freeze of everything counts.

    `put_by_hand` is kubectl: any name, any spec. `fail` and `recover` switch an outage.
    """

    def __init__(self, home: str = "rollout", namespaces: Sequence[str] | None = None) -> None:
        self.home = home
        self.objects: dict[tuple[str, str], FreezeSpec] = {}
        """By (namespace, name)."""
        self._namespaces = namespaces
        self._outage = ""

    async def of(self, namespace: str, service: str, *, remembered: bool = False) -> tuple[Freeze, ...] | Unavailable:
        del remembered
        if self._outage:
            return Unavailable(self._outage)
        return tuple(one for one in self._all() if self._concerns(one, namespace, service))

    async def list(self, namespace: str | None) -> Sequence[Freeze]:
        self._answer()
        return [one for one in self._all() if namespace in {None, one.namespace} or one.spec.everywhere]

    async def put(self, namespace: str | None, spec: FreezeSpec) -> Freeze:
        self._answer()
        if (namespace is None) != spec.everywhere:
            raise Refused("a freeze of everything has no namespace, and no other is without")
        where = self.home if namespace is None else namespace
        if self._namespaces is not None and where not in self._namespaces:
            raise NotFound(f"there is no namespace {where}")
        return self.put_by_hand(where, freeze_name(spec.service, everywhere=spec.everywhere), spec)

    async def remove(self, namespace: str | None, service: str | None) -> bool:
        self._answer()
        place = self.home if namespace is None else namespace
        scope = EVERYWHERE if namespace is None else place if service is None else f"{place}/{service}"
        standing = [one for one in self._all() if (one.namespace, one.scope) == (place, scope)]
        for one in standing:
            del self.objects[one.namespace, one.name]
        return bool(standing)

    def put_by_hand(self, namespace: str, name: str, spec: FreezeSpec) -> Freeze:
        """Somebody with kubectl."""
        self.objects[namespace, name] = spec
        return self._read(namespace, name)

    def fail(self, reason: str) -> None:
        """From now on nothing can be asked."""
        self._outage = reason

    def recover(self) -> None:
        """Answer again."""
        self._outage = ""

    def _answer(self) -> None:
        if self._outage:
            raise Outage(self._outage)

    def _all(self) -> Sequence[Freeze]:
        return [self._read(*key) for key in sorted(self.objects)]

    def _read(self, namespace: str, name: str) -> Freeze:
        spec = self.objects[namespace, name]
        if spec.everywhere and namespace != self.home:
            spec = spec.model_copy(update={"everywhere": False, "service": None})
        return Freeze(namespace=namespace, name=name, spec=spec)

    def _concerns(self, freeze: Freeze, namespace: str, service: str) -> bool:
        if freeze.spec.everywhere:
            return True
        return freeze.namespace == namespace and freeze.spec.service in {None, service}
