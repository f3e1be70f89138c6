"""What must never happen (ARCHITECTURE.md, I1 to I10), read off the audit log of a real API and off the objects in it.

Belongs here: statements about what was written, in the order in which the server answered. Does not belong here: what a
story must end with (`lives.py`). Each function yields violations as sentences that begin with the invariant's number.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from rollout.adapters.cluster_events import CONTROLLER
from rollout.adapters.event_notes import WORDINGS, reason_of
from rollout.core.turn import TRANSITIONS
from rollout.sandbox.audit import AuditEntry
from rollout.sandbox.cluster_client import JsonObject
from tests.crash.arena import USER

EDGES = {(one.source.value, one.target.value) for one in TRANSITIONS}
WAYS_BACK = {"RollingBack", "RolledBack", "Aborted", "Failed"}
TERMINAL = {"Promoted", "RolledBack", "Aborted", "Failed"}
ON_ROUTE = {reason_of(name) for name, wording in WORDINGS.items() if wording.on_route}
UNOWED = {reason_of("traffic.apply_failed")}
"""Events that no decision owes."""
_OURS = {"rollout.dev/epoch", "rollout.dev/release"}


def is_refused(entry: AuditEntry) -> bool:
    """Whether nothing was written."""
    return not 200 <= entry.code <= 299


def violations(entries: Sequence[AuditEntry]) -> list[str]:
    """I1, I2, I3, I4, I5 and I7 of everything that was written in one namespace, people's writes included.

    The first entries are those that made its VirtualService and its DestinationRule.
    """
    return list(_Reading().read([one for one in entries if not is_refused(one)]))


class _Reading:
    """The state of the objects while the log is read."""

    def __init__(self) -> None:
        self.routes: dict[str, JsonObject] = {}
        """VirtualServices by name."""
        self.rule: JsonObject | None = None
        self.statuses: list[tuple[datetime, JsonObject]] = []
        self.back = False
        """An order to roll back is on the route."""
        self.unserved: set[str] = set()
        """Subsets that get requests and do not exist: somebody else's doing."""

    def read(self, entries: Sequence[AuditEntry]) -> Iterator[str]:
        for entry in entries:
            ours = entry.user == USER
            match entry.resource, entry.subresource:
                case "releases", "status" if ours:
                    yield from self._saved(entry)
                case "releases", "" if entry.verb == "create":
                    self.statuses, self.back = [], False
                case "virtualservices", "":
                    yield from self._routed(entry) if ours else ()
                    self.routes.pop(entry.name, None)
                    if entry.verb != "delete":
                        self.routes[entry.name] = entry.response_object
                    self.unserved = self._without_subset()
                case "destinationrules", "":
                    self.rule = None if entry.verb == "delete" else entry.response_object
                    if ours and (left := self._without_subset() - self.unserved):
                        yield f"I7 {sorted(left)} lost the subset that its requests go to"
                    self.unserved = self._without_subset()

    def _saved(self, entry: AuditEntry) -> Iterator[str]:
        now: JsonObject = entry.request_object["status"]
        before: JsonObject = self.statuses[-1][1] if self.statuses else {"phase": "Pending"}
        self.statuses.append((entry.ended, now))
        old, new = before["phase"], now["phase"]
        if old != new and (old, new) not in EDGES:
            yield f"left the table: {old} -> {new}"
        if old == "RollingBack" and new not in WAYS_BACK:
            yield f"I3 {old} -> {new}"
        if before.get("order") and now["order"]["epoch"] < before["order"]["epoch"]:
            yield f"I3 epochs fell from {before['order']} to {now['order']}"
        if old == "Analysing" and new in {"Shifting", "Finishing"}:
            yield from _unproven(before, now)
        if new in TERMINAL and old not in TERMINAL and now.get("order"):
            yield from self._ended(entry, now)

    def _ended(self, entry: AuditEntry, now: JsonObject) -> Iterator[str]:
        ordered = now["order"]["percent"], now["order"]["epoch"], entry.name
        theirs = now["reason"] in {"RouteGone", "HandOnRoute"}
        for name, route in self.routes.items() if not theirs else ():
            if _said(route) != ordered:
                yield f"I2 ended as {now['phase']} on {ordered}, with VirtualService {name} at {_said(route)}"

    def _routed(self, entry: AuditEntry) -> Iterator[str]:
        after, before = entry.response_object, self.routes.get(entry.name)
        share, epoch, _ = _said(after)
        weights = [one.get("weight", 0) for one in _destinations(after)]
        if len(weights) > 1 and (sum(weights) != 100 or not all(0 <= one <= 100 for one in weights)):
            yield f"I7 weights {weights}"
        if left := _fed(after, self.rule) - self.unserved:
            yield f"I7 an order sent requests to {sorted(left)}, which is no subset"
        if before is None:
            return
        if _rest(before) != _rest(after):
            yield "I7 something else than weights was changed in the VirtualService"
        was, old_epoch, _ = _said(before)
        if (share, epoch) == (was, old_epoch):
            return
        orders = [
            (one["order"]["percent"], one["order"]["epoch"])
            for ended, one in self.statuses
            if one.get("order") and ended < entry.at
        ]
        if (share, epoch) not in orders:
            yield f"I1 {share} % under epoch {epoch} was on the route before it was saved"
        if epoch < old_epoch:
            yield f"I1 epoch {epoch} over {old_epoch}"
        if self.back and share > 0:
            yield f"I3 {share} % after the rollback was on the route"
        self.back = self.back or bool(self.statuses and self.statuses[-1][1]["phase"] == "RollingBack")

    def _without_subset(self) -> set[str]:
        return {one for route in self.routes.values() for one in _fed(route, self.rule)}


def _unproven(before: JsonObject, now: JsonObject) -> Iterator[str]:
    """I4, I5: what advances was seen on the route, and judged by a scrape that came after."""
    confirmed, window = before.get("confirmed") or {}, now.get("window") or {}
    if confirmed.get("route") != before.get("order"):
        yield f"I4 advanced from {confirmed.get('route')}, {before.get('order')} was ordered"
    judged = window.get("judgedAt")
    if judged is None or datetime.fromisoformat(judged) <= datetime.fromisoformat(confirmed["at"]):
        yield f"I5 advanced on what was judged at {judged}, the route was seen at {confirmed['at']}"
    outcomes = {one["check"]: one["outcome"] for one in now.get("verdicts", ())}
    if outcomes.get("errors") != "pass" or not set(outcomes.values()) <= {"pass", "unmeasured"}:
        yield f"I4 advanced on {outcomes}"


def _fed(route: JsonObject, rule: JsonObject | None) -> set[str]:
    """Subsets that get requests by it and do not exist; none while there is no DestinationRule at all."""
    if rule is None:
        return set()
    destinations = _destinations(route)
    named = {one["destination"]["subset"] for one in destinations if len(destinations) == 1 or one.get("weight")}
    return named - {one["name"] for one in rule["spec"]["subsets"]}


def _said(route: JsonObject) -> tuple[int, int, str]:
    """(share of v2, epoch, release)."""
    notes, destinations = route["metadata"].get("annotations", {}), _destinations(route)
    shares = {one["destination"]["subset"]: one.get("weight", 0) for one in destinations}
    if len(destinations) == 1:
        shares = dict.fromkeys(shares, 100)
    return shares.get("v2", 0), int(notes.get("rollout.dev/epoch", 0)), notes.get("rollout.dev/release", "")


def _destinations(route: JsonObject) -> list[JsonObject]:
    found: list[JsonObject] = route["spec"]["http"][0]["route"]
    return found


def _rest(route: JsonObject) -> Any:
    """The object without what an order may change."""
    metadata, spec = route["metadata"], route["spec"]
    notes = {key: value for key, value in metadata.get("annotations", {}).items() if key not in _OURS}
    http = [{key: value for key, value in one.items() if key != "route"} for one in spec["http"]]
    kept = {key: metadata.get(key) for key in ("labels", "finalizers", "ownerReferences")}
    return notes, kept, {**spec, "http": http}, [one.get("route") for one in spec["http"][1:]]


def told_wrongly(release: JsonObject, events: Sequence[JsonObject]) -> Iterator[str]:
    """I10: one Event per decision on the Release, one on the VirtualService where it is about traffic, none twice."""
    ours = [one for one in events if one["reportingController"] == CONTROLLER and one["reason"] not in UNOWED]
    on_release = [one for one in ours if one["regarding"]["kind"] == "Release"]
    # `<release>.<number of the decision>.<digest>`
    told = Counter(int(one["metadata"]["name"].split(".")[-2]) for one in on_release)
    owed = range(1, release["status"]["sequence"] + 1)
    if missing := sorted(set(owed) - told.keys()):
        yield f"I10 decisions {missing} of {len(owed)} were never told"
    if odd := {number: times for number, times in told.items() if times > 1 or number not in owed}:
        yield f"I10 told twice, or never decided: {odd}"
    decided = Counter(one["reason"] for one in on_release if one["reason"] in ON_ROUTE)
    by_route: dict[str, Counter[str]] = {}
    for one in ours:
        if one["regarding"]["kind"] == "VirtualService":
            by_route.setdefault(one["regarding"]["name"], Counter())[one["reason"]] += 1
    for name, on_route in by_route.items():
        if on_route != decided:
            yield f"I10 on VirtualService {name} {dict(on_route)}, decided {dict(decided)}"


def decisions(events: Sequence[JsonObject]) -> Counter[str]:
    """How often each kind of decision was told on the Release."""
    ours = (one for one in events if one["reportingController"] == CONTROLLER)
    return Counter(one["reason"] for one in ours if one["regarding"]["kind"] == "Release")
