"""The words of a Kubernetes Event: its reason, its action and one plain sentence with the numbers, per kind of event.

Belongs here: the table from the event catalogue (`core/events.py`) to what `kubectl describe` shows. Does not belong
here: when and where an Event is written (`cluster_events.py`), the sentences of our own command line (`cli/`).

Reasons are the catalogue's names in CamelCase, as k8s.io/api/events/v1 wants them: short, stable, for machines.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rollout.core.events import Scalar
from rollout.core.judging.verdicts import odds
from rollout.core.release import Release

LONGEST_NOTE: Final = 1024
"""Characters that an Event's note may have (kubernetes pkg/apis/core/validation/events.go, NoteLengthLimit)."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How one kind of event is told; the sentence may name the fields of the event and of its release."""

    action: str
    """What the controller did or will do, in CamelCase."""
    sentence: str
    on_route: bool = False
    """Whether it belongs to the history of the VirtualService too."""


WORDINGS: Final[Mapping[str, Wording]] = {
    "release.requested": Wording("Consider", "Release of {service} {version} requested{by_actor}{why}"),
    "release.rejected": Wording("Refuse", "Release of {service} {version} refused, nothing was changed: {reason}"),
    "preflight.found": Wording("Inspect", "Preflight {severity} {code} at {object}: {message}"),
    "release.waiting": Wording("Wait", "Does not start yet: {reason}"),
    "release.superseded": Wording("RollBack", "All traffic goes back to {stable}: {reason}"),
    "gate.waiting": Wording("Ask", "Waits for gate {gate} ({kind}) before {before}"),
    "gate.passed": Wording("Advance", "Gate {gate} passed{by_actor}{why}"),
    "gate.failed": Wording("Ask", "Gate {gate} said no{why}"),
    "release.started": Wording("Claim", "{stable} holds the traffic, {version} gets {steps} %", on_route=True),
    "step.started": Wording(
        "Shift", "{version} has {weight_to} % of the traffic (before: {weight_from} %){hold}", on_route=True
    ),
    "step.promoted": Wording(
        "Advance", "Every check passed: {canary_errors} of {canary_requests} requests of {version} failed{unproven}"
    ),
    "step.retreated": Wording(
        "Retreat", "Back from {weight_from} % to {weight_to} % to get a control: {reason}", on_route=True
    ),
    "step.held": Wording("Wait", "Nothing advances: {reason}"),
    "history.learned": Wording(
        "Learn", "Stable's past was read: {percent_failed} of its requests fail, {clump} at a time"
    ),
    "history.unavailable": Wording("Learn", "Stable's past could not be read: {error}"),
    "metrics.unavailable": Wording("Wait", "Prometheus gave no usable answer, nothing advances: {error}"),
    "metrics.uncertain": Wording("Count", "{series} counters began at an unknown time; what they held is left out"),
    "metrics.restored": Wording("Resume", "Prometheus answers again after {blind_s} s"),
    "release.paused": Wording("Pause", "Held at its weight{by_actor}{why}"),
    "release.resumed": Wording("Resume", "The pause is over, the release goes on"),
    "release.abort_requested": Wording("Abort", "All traffic goes back to {stable}: abort requested{by_actor}{why}"),
    "traffic.apply_failed": Wording("Shift", "An order could not be written to the route, it is tried again: {error}"),
    "traffic.unreadable": Wording("Wait", "The route cannot be read, weights stay as they are: {error}"),
    "traffic.readable": Wording("Resume", "The route can be read again"),
    "traffic.drift_detected": Wording(
        "Respect",
        "Somebody else set {version} to {percent_seen} %, {percent_ordered} % was ordered; "
        "nothing advances until it is resumed or aborted",
        on_route=True,
    ),
    "traffic.drift_ended": Wording(
        "Resume", "The weights are as ordered again: {version} has {percent} %", on_route=True
    ),
    "rollback.started": Wording("RollBack", "All traffic goes back to {stable}: {reason}", on_route=True),
    "rollback.reordered": Wording(
        "RollBack",
        "Somebody undid the rollback ({version} had {percent_seen} %), it is ordered again ({times})",
        on_route=True,
    ),
    "rollback.stuck": Wording(
        "RollBack",
        "The rollback does not hold, someone must look now: {version} has {percent_seen} %: {reason}",
        on_route=True,
    ),
    "rollback.done": Wording("RollBack", "All traffic was seen back at {stable} after {took_ms} ms", on_route=True),
    "release.finishing": Wording("Finish", "The last step passed, route entries of {stable} are put away"),
    "cleanup.skipped": Wording("Finish", "Something was left on the route: {reason}"),
    "release.succeeded": Wording(
        "Promote", "Promoted: {version} holds all traffic of {service} after {duration_s} s", on_route=True
    ),
    "release.rolled_back": Wording(
        "RollBack", "Rolled back after {duration_s} s, {stable} holds all traffic: {reason}"
    ),
    "release.aborted": Wording("Abort", "Aborted after {duration_s} s: {reason}"),
    "release.failed": Wording("Fail", "Failed: {reason}"),
}
"""Every kind of event that is announced, and `traffic.apply_failed`, which is not but is the answer to "why not?"."""


def reason_of(name: str) -> str:
    """`step.promoted` -> `StepPromoted`."""
    return "".join(word.capitalize() for word in name.replace("_", ".").split("."))


def note_of(release: Release, name: str, fields: Mapping[str, Scalar]) -> str:
    """One sentence without line breaks, of at most 1024 characters; what an event leaves out is a question mark.

    The same however late it is told: it is made of the event and of what never changes after the start.
    """
    status, spec = release.status, release.spec
    known: dict[str, Scalar] = {
        "service": status.service or spec.service,
        "version": status.version or spec.version,
        "stable": status.stable or "stable",
        **fields,
        **_phrases(fields),
    }
    filled = " ".join(WORDINGS[name].sentence.format_map(_Filled(known)).split())
    text = "".join(char if char.isprintable() else "�" for char in filled)
    return text if len(text) <= LONGEST_NOTE else text[: LONGEST_NOTE - 1] + "…"


def _phrases(fields: Mapping[str, Scalar]) -> dict[str, str]:
    """Parts of sentences that are left out where there is nothing to say."""
    actor, reason, hold, rate = (fields.get(name) for name in ("actor", "reason", "hold_s", "error_rate"))
    evidence = fields.get("evidence")
    suspected = f", evidence {odds(evidence)}" if isinstance(evidence, (int, float)) and evidence > 1 else ""
    return {
        "by_actor": f" by {actor}" if actor else "",
        "why": f": {reason}" if reason else "",
        "hold": f", watched for {hold:g} s" if isinstance(hold, (int, float)) else "",
        "unproven": (", unproven" if fields.get("proven") is False else "") + suspected,
        "percent_failed": f"{rate * 100:.3g} %" if isinstance(rate, (int, float)) else "an unknown share",
    }


class _Filled(dict[str, Scalar]):
    """Fields that an event may leave out: a sentence with a gap is better than none."""

    def __missing__(self, _: str) -> str:
        return "?"
