"""One VirtualService and one DestinationRule, as far as `ports.Traffic` shows them, with compare-and-set and epochs."""

from rollout.core.route import Gone, Mesh, Problem, Route, Target, Unavailable
from rollout.ports import Conflict, Outage, Refused


class FakeMesh:
    """`ports.Traffic` on weights in memory. People edit it with `edit`, `replace` and `delete`."""

    def __init__(self, stable: str = "v1") -> None:
        self.weights: dict[str, int] = {stable: 100}
        """Version -> weight of every destination of the route; together 100."""
        self.subsets: set[str] = {stable}
        self.epoch = 0
        self.release = ""
        self.revision = 1
        self.problem: Problem | None = None
        self.gone = False
        self.outage = ""
        """Why the API server does not answer; "" where it does."""
        self.refusal = ""
        """Why the API server accepts no change; "" where it does."""

    def percent(self, canary: str) -> int:
        """Share of a version; the only destination takes everything."""
        return 100 if set(self.weights) == {canary} else self.weights.get(canary, 0)

    def edit(self, canary: str, percent: int, stable: str = "v1") -> None:
        """A person changes the weights (`kubectl edit`): the annotations stay."""
        self.weights = dict.fromkeys(self.weights, 0) | {stable: 100 - percent, canary: percent}
        self.revision += 1

    def replace(self, canary: str, percent: int, stable: str = "v1") -> None:
        """A person puts an object of their own there (`kubectl replace`): the annotations are lost."""
        self.epoch, self.release = 0, ""
        self.edit(canary, percent, stable)

    def forget_the_name(self) -> None:
        """Somebody's tool drops one of the two annotations."""
        self.release = ""
        self.revision += 1

    def delete(self) -> None:
        """Somebody deletes the VirtualService."""
        self.gone = True
        self.revision += 1

    async def observe(self, target: Target) -> Mesh | Gone | Unavailable:
        """As the port says."""
        if self.outage:
            return Unavailable(self.outage)
        if self.gone:
            return Gone(f"there is no VirtualService {target.virtual_service}")
        return Mesh(
            percent=self.percent(target.canary),
            epoch=self.epoch,
            release=self.release,
            stable=self._stable(target),
            listed=frozenset(self.weights),
            subsets=frozenset(self.subsets),
            revision=str(self.revision),
            problem=self._problem(target),
        )

    async def set_route(self, target: Target, route: Route, seen: Mesh) -> None:
        """As the port says."""
        self._answer()
        self._check_revision(seen)
        self._check_epoch(target, route)
        here, stable = self.percent(target.canary), target.stable or seen.stable
        if route.percent < here and stable not in self.subsets and target.canary in self.subsets:
            raise Refused("the subset to which the traffic would return is not there")
        problem = self._problem(target)
        hindered = problem is not None and problem.code != "already-split"
        if route.percent > here and (hindered or target.canary not in self.subsets):
            raise Refused("the share cannot be raised on this route")
        if self.refusal:
            raise Refused(self.refusal)
        before = (dict(self.weights), self.epoch, self.release)
        if route.percent != here:
            self._shift(target.canary, stable or "", route.percent)
        self.epoch, self.release = route.epoch, target.release
        if before != (self.weights, self.epoch, self.release):
            self.revision += 1

    async def drop_destination(self, target: Target, version: str, seen: Mesh) -> None:
        """As the port says."""
        self._answer()
        self._check_revision(seen)
        if self.release not in {"", target.release}:
            raise Conflict("another release ordered this route")
        if self.percent(version) > 0:
            raise Refused(f"{version} still receives traffic")
        if self.weights.pop(version, None) is not None:
            self.revision += 1

    async def add_subset(self, target: Target, version: str) -> None:
        """As the port says."""
        self._answer()
        if not {target.stable, target.canary} & self.subsets:
            raise Refused("there is no subset to copy")
        self.subsets.add(version)

    async def drop_subset(self, target: Target, version: str) -> None:
        """As the port says."""
        self._answer()
        if version in self.weights and not self.gone:
            raise Refused(f"the VirtualService {target.virtual_service} names it")
        self.subsets.discard(version)

    def _answer(self) -> None:
        if self.outage:
            raise Outage(self.outage)

    def _check_revision(self, seen: Mesh) -> None:
        if self.gone or seen.revision != str(self.revision):
            raise Conflict("the VirtualService changed since it was read")

    def _check_epoch(self, target: Target, route: Route) -> None:
        if self.epoch > route.epoch or (self.epoch == route.epoch and self.release not in {"", target.release}):
            raise Conflict("the VirtualService carries a newer order")

    def _shift(self, canary: str, stable: str, percent: int) -> None:
        others = sum(weight for version, weight in self.weights.items() if version not in {canary, stable})
        self.weights[canary] = min(percent, 100 - others)
        self.weights[stable] = 100 - others - self.weights[canary]

    def _stable(self, target: Target) -> str | None:
        holders = {version for version in self.weights if self.percent(version) > 0} - {target.canary}
        return next(iter(holders)) if len(holders) == 1 else None

    def _problem(self, target: Target) -> Problem | None:
        if self.problem is not None:
            return self.problem
        stable = target.stable or self._stable(target)
        carriers = {version for version in self.weights if self.percent(version) > 0}
        if target.stable is not None and carriers - {target.canary, target.stable}:
            return Problem("other-version", "a third version receives traffic")
        if len(carriers) == 2 and not (self.release == target.release and target.canary in carriers):
            return Problem("already-split", "the route is already split")
        if stable is not None and stable not in self.subsets:
            return Problem("subset-missing", f"there is no subset for {stable}, which holds the traffic")
        return None
