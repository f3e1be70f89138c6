"""What people and their tools do to the objects of a release that is under way, with kubectl and a GitOps loop.

Belongs here: the deeds. Does not belong here: what must come of them (`test_hands.py`). Every deed has a namespace of
its own, so that all of them are done side by side; each returns what there is to be seen afterwards.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from rollout.sandbox import shop
from rollout.sandbox.audit import AuditEntry
from rollout.sandbox.cluster_client import JsonObject
from tests.crash.arena import USER, Arena
from tests.crash.invariants import decisions, is_refused, violations
from tests.crash.place import LEASE, POLICY, RELEASE, Place

PATIENCE_S = 120.0
"""No deed takes so long, however busy the machine."""
LOOP_S = 30.0
"""For how long a GitOps loop goes on."""
CALM_S = 4.0
"""Four scrapes: whoever would fight had the time to."""
_STEPS = {"steps": [{"weight": 50, "hold": "12s"}, {"weight": 100, "hold": "3s"}]}
SLOWLY = "3s"
"""Settling time of a rollback that lasts longer than a tool's pause; a shorter one is over before it is undone."""
_CONFIG = "kubectl.kubeconfig"


@dataclass
class Outcome:
    """What there was to be seen."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    gone: bool = False
    """The Release object is not there any more."""
    weights: dict[str, int] = field(default_factory=dict)
    subsets: list[str] = field(default_factory=list)
    decisions: Counter[str] = field(default_factory=Counter)
    """How often each was told as an Event."""
    logged: Counter[str] = field(default_factory=Counter)
    """How often each was told in the log."""
    orders: int = 0
    """How often the controller wrote the VirtualService after the deed."""
    attempts: int = 0
    """The same, with those that were refused."""
    wrong: list[str] = field(default_factory=list)
    between: dict[str, JsonObject | str | int] = field(default_factory=dict)
    """What was seen on the way."""
    written: list[AuditEntry] = field(default_factory=list)


Deed = Callable[["Hand"], Awaitable[None]]


class Hand:
    """A release at half of the traffic, in the middle of its hold, and somebody who does something to it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.outcome = Outcome()
        self._began = 0

    async def begin(self, settle: str) -> None:
        """Wait until the release is looked at, at its first step."""
        place = self.place
        await place.controller(await place.proxy(), lease=LEASE)
        place.arena.plane.write_kubeconfig(place.path() / _CONFIG, place.namespace)
        await place.release({**POLICY, **_STEPS, "settle": settle})
        await self.until(lambda status: status.get("phase") == "Analysing" and bool(status.get("verdicts")))

    async def until(self, fact: Callable[[JsonObject], bool]) -> JsonObject:
        """The status of the release, once it is so."""
        end = time.monotonic() + PATIENCE_S
        while not fact(status := self.place.status()):
            said = status.get("phase"), status.get("reason"), status.get("message")
            assert time.monotonic() < end, f"never came to pass: {said}; logs in {self.place.path()}"
            await asyncio.sleep(0.1)
        return status

    async def until_over(self) -> None:
        """The release has ended, or is gone."""
        end = time.monotonic() + PATIENCE_S
        while not self.place.is_settled():
            status = self.place.status()
            said = status.get("phase"), status.get("reason"), status.get("message")
            assert time.monotonic() < end, f"never ended: {said}; logs in {self.place.path()}"
            await asyncio.sleep(0.1)

    async def until_reason(self, reason: str) -> None:
        """The release says why it does not go on; then some looks pass."""
        status = await self.until(lambda status: status.get("reason") == reason)
        self.outcome.between["phase"], self.outcome.between["message"] = status["phase"], status["message"]
        before = self.writes_of_ours()
        await asyncio.sleep(CALM_S)
        self.outcome.between["orders while calm"] = self.writes_of_ours() - before
        self.outcome.between["weights"] = json.dumps(await self.place.weights())

    def writes_of_ours(self) -> int:
        """How often the controller has tried to write the VirtualService."""
        return sum(one.user == USER and one.resource == "virtualservices" for one in self.place.written())

    def mark(self) -> None:
        """The deed is done now: what follows is counted."""
        self._began = len(self.place.written())

    async def kubectl(self, *arguments: str) -> None:
        """As the administrator, in this namespace."""
        config = str(self.place.path() / _CONFIG)
        process = await asyncio.create_subprocess_exec(
            "kubectl", "--kubeconfig", config, *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()

    async def edit(self, weights: Mapping[str, int]) -> None:
        """`kubectl patch` of the destinations and their weights."""
        self.mark()
        value = shop.destinations(shop.SERVICE, dict(weights))
        change = json.dumps([{"op": "replace", "path": "/spec/http/0/route", "value": value}])
        await self.kubectl("patch", "virtualservice", shop.SERVICE, "--type=json", "-p", change)

    @contextlib.asynccontextmanager
    async def gitops(self, weights: Mapping[str, int]) -> AsyncIterator[None]:
        """A tool that applies its own idea of the VirtualService every second, server-side, by force."""
        task = asyncio.create_task(self._apply_for_ever(weights))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _apply_for_ever(self, weights: Mapping[str, int]) -> None:
        obj = self.place.here([shop.virtual_service(shop.SERVICE, dict(weights))])[0]
        path = f"/apis/networking.istio.io/v1/namespaces/{self.place.namespace}/virtualservices/{shop.SERVICE}"
        params = {"fieldManager": "argocd-controller", "force": "true"}
        async with self.place.arena.plane.client() as http:
            while True:
                headers = {"content-type": "application/apply-patch+yaml"}
                answer = await http.patch(path, params=params, content=json.dumps(obj), headers=headers)
                assert answer.is_success, answer.text
                await asyncio.sleep(1)

    async def look(self) -> Outcome:
        """Everything that is to be seen now."""
        place, seen = self.place, self.outcome
        status = place.status()
        seen.gone = await place.get("Release", RELEASE) is None
        seen.phase, seen.reason, seen.message = (status.get(name, "") for name in ("phase", "reason", "message"))
        seen.weights = await place.weights()
        rule = await place.get("DestinationRule")
        seen.subsets = [one["name"] for one in rule["spec"]["subsets"]] if rule is not None else []
        seen.written = place.written()
        later = [one for one in seen.written[self._began :] if one.user == USER and one.resource == "virtualservices"]
        seen.attempts, seen.orders = len(later), sum(not is_refused(one) for one in later)
        seen.decisions = decisions(await place.events())
        seen.logged = Counter(line["event"] for line in place.lines())
        seen.wrong = violations(seen.written)
        return seen


async def do(arena: Arena, deed: Deed) -> Outcome:
    """One deed, from a fresh namespace to what is to be seen in the end."""
    place = Place(arena)
    await place.open()
    try:
        hand = Hand(place)
        await hand.begin(SLOWLY if deed is gitops_over_a_rollback else POLICY["settle"])
        await deed(hand)
        return await hand.look()
    finally:
        await place.close()


async def all_to_stable(hand: Hand) -> None:
    await hand.edit({"v1": 100, "v2": 0})
    await hand.until_over()


async def all_to_canary(hand: Hand) -> None:
    await hand.edit({"v1": 0, "v2": 100})
    await hand.until_reason("Drifted")
    await hand.place.wish(resume={})
    await hand.until_over()


async def part_to_a_third_version(hand: Hand) -> None:
    await hand.edit({"v1": 40, "v2": 50, "v3": 10})
    await hand.until_reason("Drifted")
    await hand.place.wish(abort={"reason": "two at a time are too many"})
    await hand.until_over()


async def all_to_a_third_version(hand: Hand) -> None:
    await hand.edit({"v3": 100})
    await hand.until_over()


async def virtual_service_deleted(hand: Hand) -> None:
    hand.mark()
    await hand.kubectl("delete", "virtualservice", shop.SERVICE)
    await hand.until_over()


async def rule_deleted_and_made_again(hand: Hand) -> None:
    rule = await hand.place.get("DestinationRule")
    assert rule is not None
    hand.mark()
    await hand.kubectl("delete", "destinationrule", shop.SERVICE)
    await hand.until_reason("Drifted")
    kept = {"name": shop.SERVICE, "namespace": hand.place.namespace}
    await hand.place.arena.cluster.apply({**rule, "metadata": kept})
    await hand.until_over()


async def rule_deleted_and_aborted(hand: Hand) -> None:
    hand.mark()
    await hand.kubectl("delete", "destinationrule", shop.SERVICE)
    await hand.until_reason("Drifted")
    await hand.place.wish(abort={"reason": "no rule"})
    await hand.until_over()


async def canary_deleted(hand: Hand) -> None:
    hand.mark()
    await hand.kubectl("delete", "deployment", "checkout-v2")
    await hand.until_over()


async def stable_deleted_and_made_again(hand: Hand) -> None:
    hand.mark()
    await hand.kubectl("delete", "deployment", "checkout-v1")
    await hand.until_reason("StableNotReady")
    again = hand.place.here([shop.deployment(shop.SERVICE, "v1", replicas=1)])[0]
    await hand.place.arena.cluster.apply(again)
    await hand.until_over()


async def release_deleted(hand: Hand) -> None:
    hand.mark()
    await hand.kubectl("delete", "release.rollout.dev", RELEASE, "--wait=false")
    await hand.until_over()


async def gitops_to_stable(hand: Hand) -> None:
    hand.mark()
    async with hand.gitops({"v1": 100}):
        await asyncio.sleep(LOOP_S)
    await hand.until_over()


async def gitops_to_a_split(hand: Hand) -> None:
    hand.mark()
    async with hand.gitops({"v1": 80, "v2": 20}):
        await hand.until_reason("Drifted")
        await asyncio.sleep(LOOP_S - CALM_S)
        hand.outcome.between["orders in the loop"] = hand.writes_of_ours()
    await hand.place.wish(abort={"reason": "the tool has to be told first"})
    await hand.until_over()


async def gitops_over_a_rollback(hand: Hand) -> None:
    hand.mark()
    async with hand.gitops({"v1": 50, "v2": 50}):
        await hand.place.wish(abort={"reason": "enough"})
        await hand.until(lambda status: status.get("reason") == "Stuck")
        await asyncio.sleep(LOOP_S)
        hand.outcome.between["phase"] = hand.place.status()["phase"]
        hand.outcome.between["orders in the loop"] = hand.writes_of_ours()
    await hand.edit({"v1": 100, "v2": 0})
    await hand.until_over()


DEEDS: tuple[Deed, ...] = (
    all_to_stable,
    all_to_canary,
    part_to_a_third_version,
    all_to_a_third_version,
    virtual_service_deleted,
    rule_deleted_and_made_again,
    rule_deleted_and_aborted,
    canary_deleted,
    stable_deleted_and_made_again,
    release_deleted,
    gitops_to_stable,
    gitops_to_a_split,
    gitops_over_a_rollback,
)


class Deeds:
    """All of them, under way side by side: they take as long as one."""

    def __init__(self, arena: Arena) -> None:
        self._tasks = {deed: asyncio.create_task(do(arena, deed)) for deed in DEEDS}

    async def outcome(self, deed: Deed) -> Outcome:
        """What came of it."""
        return await asyncio.shield(self._tasks[deed])

    async def stop(self) -> None:
        """End those that nobody asked for."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
