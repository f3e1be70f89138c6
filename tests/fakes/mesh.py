"""VirtualServices and one DestinationRule, as far as `ports.Traffic` shows them, with compare-and-set and epochs.

With `legs=2` two VirtualServices carry the traffic, and `between` is awaited before an order is written to the second:
whoever raises there leaves it half-written.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from rollout.adapters.legs import joined
from rollout.core.route import Gone, Leg, Mesh, Problem, Route, Target, Unavailable
from rollout.ports import Conflict, Outage, Refused


@dataclass
class FakeLeg:
    """One VirtualService."""

    weights: dict[str, int]
    """Version -> weight of every destination of the route; together 100."""
    epoch: int = 0
    release: str = ""
    namespace: str = ""
    """Where that release is, if not where whoever looks is."""
    revision: int = 1
    gone: bool = False
    unread: str = ""
    """Why it cannot be read; "" where it can."""

    def percent(self, version: str) -> int:
        """Share of a version; the only destination takes everything."""
        return 100 if set(self.weights) == {version} else self.weights.get(version, 0)

    def carriers(self) -> set[str]:
        """The versions that receive requests."""
        return {version for version in self.weights if self.percent(version) > 0}

    def author(self, target: Target) -> str:
        """Who ordered last, as the target's namespace says it."""
        return self.release if self.namespace in {"", target.namespace} else f"{self.namespace}/{self.release}"


async def _at_once() -> None:
    """Nothing comes between."""


class FakeMesh:
    """`ports.Traffic` on weights in memory. People edit it with `edit`, `replace` and `delete`.

    `weights`, `epoch`, `release`, `revision` and `gone` are the first leg's; `all` has every one.
    """

    def __init__(self, stable: str = "v1", *, legs: int = 1) -> None:
        self.all = [FakeLeg({stable: 100}) for _ in range(legs)]
        self.subsets: set[str] = {stable}
        self.problem: Problem | None = None
        self.outage = ""
        """Why the API server does not answer; "" where it does."""
        self.refusal = ""
        """Why the API server accepts no change; "" where it does."""
        self.between: Callable[[], Awaitable[None]] = _at_once

    @property
    def weights(self) -> dict[str, int]:
        return self.all[0].weights

    @weights.setter
    def weights(self, weights: dict[str, int]) -> None:
        self.all[0].weights = weights

    @property
    def epoch(self) -> int:
        return self.all[0].epoch

    @property
    def release(self) -> str:
        return self.all[0].release

    @property
    def revision(self) -> int:
        return self.all[0].revision

    @property
    def gone(self) -> bool:
        return all(leg.gone for leg in self.all)

    def percent(self, canary: str) -> int:
        """The largest share that any leg gives a version."""
        return max(leg.percent(canary) for leg in self.all)

    def edit(self, canary: str, percent: int, stable: str = "v1", leg: int = 0) -> None:
        """A person changes the weights (`kubectl edit`): the annotations stay."""
        one = self.all[leg]
        one.weights = dict.fromkeys(one.weights, 0) | {stable: 100 - percent, canary: percent}
        one.revision += 1

    def replace(self, canary: str, percent: int, stable: str = "v1", leg: int = 0) -> None:
        """A person puts an object of their own there (`kubectl replace`): the annotations are lost."""
        self.all[leg].epoch, self.all[leg].release, self.all[leg].namespace = 0, "", ""
        self.edit(canary, percent, stable, leg)

    def forget_the_name(self, leg: int = 0) -> None:
        """Somebody's tool drops one of the two annotations."""
        self.all[leg].release = self.all[leg].namespace = ""
        self.all[leg].revision += 1

    def delete(self, leg: int | None = None) -> None:
        """Somebody deletes the VirtualService, or all of them."""
        for one in self.all if leg is None else [self.all[leg]]:
            one.gone = True
            one.revision += 1

    async def observe(self, target: Target, *, remembered: bool = False) -> Mesh | Gone | Unavailable:
        """As the port says; it forgets nothing."""
        del remembered
        if self.outage:
            return Unavailable(self.outage)
        if self.gone:
            return Gone(f"there is no VirtualService {target.legs[0]}")
        target = self._with_legs(target)
        pairs = list(zip(target.legs, self.all, strict=True))
        unread = [leg for leg, one in pairs if one.unread]
        said = [(leg, self._reading(one, target)) for leg, one in pairs if not one.gone and not one.unread]
        if not said:
            return Unavailable(f"VirtualService {unread[0]} cannot be read")
        return joined(target, said, [leg for leg, one in pairs if one.gone and not one.unread], unread)

    async def set_route(self, target: Target, route: Route, seen: Mesh) -> None:
        """As the port says: where the share falls first, one by one; then where it rises, if nothing is in the way."""
        self._answer()
        target = self._with_legs(target)
        pairs = [(leg, one) for leg, one in zip(target.legs, self.all, strict=True) if leg not in seen.missing]
        there = [(leg, one) for leg, one in pairs if not one.unread]
        falling = [(leg, one) for leg, one in there if route.percent <= one.percent(target.canary)]
        rising = [(leg, one) for leg, one in there if route.percent > one.percent(target.canary)]
        if all(route.percent == one.percent(target.canary) for _, one in falling):
            if rising:
                self._check_all_read()
            for _, one in there:
                self._check_epoch(one, target, route)
        failure: Conflict | Refused | None = None
        for leg, one in falling:
            try:
                self._check_order(leg, one, target, route, seen)
                await self._write(leg, one, target, route, seen)
            except (Conflict, Refused) as error:
                failure = failure or error
        if failure is not None:
            raise failure
        self._check_all_read()
        for leg, one in rising:
            self._check_order(leg, one, target, route, seen)
        if rising and seen.missing:
            raise Refused("the share is not raised in some VirtualServices alone")
        for leg, one in rising:
            await self._write(leg, one, target, route, seen)

    async def drop_destination(self, target: Target, version: str, seen: Mesh) -> None:
        """As the port says."""
        self._answer()
        target = self._with_legs(target)
        self._check_all_read()
        there = [(leg, one) for leg, one in zip(target.legs, self.all, strict=True) if leg not in seen.missing]
        for leg, one in there:
            self._check_revision(leg, one, seen)
            if one.author(target) not in {"", target.release}:
                raise Conflict("another release ordered this route")
            if one.percent(version) > 0:
                raise Refused(f"{version} still receives traffic")
        for _, one in there:
            if one.weights.pop(version, None) is not None:
                one.revision += 1

    async def add_subset(self, target: Target, version: str) -> None:
        """As the port says."""
        self._answer()
        if not {target.stable, target.canary} & self.subsets:
            raise Refused("there is no subset to copy")
        self.subsets.add(version)

    async def drop_subset(self, target: Target, version: str) -> None:
        """As the port says."""
        self._answer()
        if any(version in one.weights and not one.gone for one in self.all):
            raise Refused(f"the VirtualService {target.legs[0]} names it")
        self.subsets.discard(version)

    def _with_legs(self, target: Target) -> Target:
        """As many legs as there are here, whatever the policy says."""
        more = (Leg("istio-ingress", f"gateway-{number}") for number in range(1, len(self.all)))
        return target if len(target.legs) == len(self.all) else replace(target, legs=(target.legs[0], *more))

    def _reading(self, one: FakeLeg, target: Target) -> Mesh:
        return Mesh(
            percent=one.percent(target.canary),
            epoch=one.epoch,
            release=one.author(target),
            stable=_stable(one, target),
            listed=frozenset(one.weights),
            subsets=frozenset(self.subsets),
            revision=str(one.revision),
            problem=self._problem(one, target),
        )

    def _check_order(self, leg: Leg, one: FakeLeg, target: Target, route: Route, seen: Mesh) -> None:
        self._check_revision(leg, one, seen)
        self._check_epoch(one, target, route)
        here, stable = one.percent(target.canary), target.stable or _stable(one, target)
        if route.percent < here and stable not in self.subsets and target.canary in self.subsets:
            raise Refused("the subset to which the traffic would return is not there")
        problem = self._problem(one, target)
        hindered = problem is not None and problem.code != "already-split"
        if route.percent > here and (hindered or target.canary not in self.subsets):
            raise Refused("the share cannot be raised on this route")
        if self.refusal:
            raise Refused(self.refusal)

    async def _write(self, leg: Leg, one: FakeLeg, target: Target, route: Route, seen: Mesh) -> None:
        """One VirtualService as ordered, unless somebody was faster."""
        if leg != target.legs[0]:
            await self.between()
            self._check_revision(leg, one, seen)
        before = (dict(one.weights), one.epoch, one.author(target))
        if route.percent != one.percent(target.canary):
            _shift(one, target.canary, target.stable or _stable(one, target) or "", route.percent)
        one.epoch, one.release, one.namespace = route.epoch, target.release, target.namespace
        if before != (one.weights, one.epoch, one.author(target)):
            one.revision += 1

    def _answer(self) -> None:
        if self.outage:
            raise Outage(self.outage)

    def _check_all_read(self) -> None:
        if any(one.unread for one in self.all):
            raise Outage("a VirtualService cannot be read")

    def _check_revision(self, leg: Leg, one: FakeLeg, seen: Mesh) -> None:
        known = {part.leg: part.revision for part in seen.parts} or {leg: seen.revision}
        if one.gone or known.get(leg) != str(one.revision):
            raise Conflict("the VirtualService changed since it was read")

    def _check_epoch(self, one: FakeLeg, target: Target, route: Route) -> None:
        if one.epoch > route.epoch or (one.epoch == route.epoch and one.author(target) not in {"", target.release}):
            raise Conflict("the VirtualService carries a newer order")

    def _problem(self, one: FakeLeg, target: Target) -> Problem | None:
        if self.problem is not None:
            return self.problem
        stable, carriers = target.stable or _stable(one, target), one.carriers()
        if target.stable is not None and carriers - {target.canary, target.stable}:
            return Problem("other-version", "a third version receives traffic")
        if len(carriers) == 2 and not (one.author(target) == target.release and target.canary in carriers):
            return Problem("already-split", "the route is already split")
        if stable is not None and stable not in self.subsets:
            return Problem("subset-missing", f"there is no subset for {stable}, which holds the traffic")
        return None


def _stable(one: FakeLeg, target: Target) -> str | None:
    holders = one.carriers() - {target.canary}
    return next(iter(holders)) if len(holders) == 1 else None


def _shift(one: FakeLeg, canary: str, stable: str, percent: int) -> None:
    others = sum(weight for version, weight in one.weights.items() if version not in {canary, stable})
    one.weights[canary] = min(percent, 100 - others)
    one.weights[stable] = 100 - others - one.weights[canary]
