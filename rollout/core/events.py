"""The event catalogue: every line a release can log, with its level and its fields, in one place.

`docs/events.md` is generated from this table. Names are stable; a field's unit is in its name.
"""

from dataclasses import dataclass
from enum import StrEnum

from pydantic import Field

from rollout.core.quantities import Instant, Model

Scalar = str | int | float | bool | None


class Level(StrEnum):
    """How much it matters to whoever is on call."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of event: its stable name, its level, the fields it adds, what it tells."""

    name: str
    level: Level
    fields: tuple[str, ...]
    meaning: str


CONTEXT = ("release", "service", "namespace", "version", "phase", "step", "weight", "epoch")
"""Fields that every line of a release carries."""


def _kinds(*kinds: Kind) -> dict[str, Kind]:
    return {kind.name: kind for kind in kinds}


_D, _I, _W, _E, _C = Level.DEBUG, Level.INFO, Level.WARNING, Level.ERROR, Level.CRITICAL

CATALOGUE = _kinds(
    Kind("release.requested", _I, ("actor", "reason", "url"), "A Release object was seen for the first time."),
    Kind("release.rejected", _W, ("reason_code", "reason"), "It was refused before anything was written to the mesh."),
    Kind("preflight.found", _W, ("code", "severity", "object", "message"),
         "Something around the route is wrong, or may be: errors keep a release from starting (docs/preflight.md)."),
    Kind("release.waiting", _I, ("reason_code", "reason"),
         "It may not start yet: others go first, its time has not come, it is frozen, a gate has not answered."),
    Kind("release.superseded", _W, ("reason",), "Somebody asked for a newer version instead; all traffic goes back."),
    Kind("gate.waiting", _I, ("gate", "kind", "before"), "It waits for somebody to say yes before this point."),
    Kind("gate.passed", _I, ("gate", "actor", "reason"), "The gate said yes; `actor` approved, where a person did."),
    Kind("gate.failed", _W, ("gate", "reason"), "The gate said no, or nothing in time."),
    Kind("release.started", _I, ("stable", "steps", "version_label"),
         "The policy is frozen, the VirtualService claimed. `version_label` tells the versions apart in the metrics."),
    Kind("step.started", _I, ("weight_from", "weight_to", "hold_s"), "The ordered weight was seen on the mesh."),
    Kind("step.promoted", _I, ("canary_requests", "canary_errors", "proven", "evidence"),
         "Every check passed; the next weight follows. `proven`: shown not to be worse than the margin."),
    Kind("step.retreated", _W, ("check", "reason", "weight_from", "weight_to"),
         "Alarm at the last step, where nothing is left to compare with: back to the first weight to get a control."),
    Kind("step.held", _W, ("reason_code", "reason"),
         "The hold is over, but a check does not pass or it is not the time; or a rollback waits for a pod of stable."),
    Kind("check.passed", _D, ("check", "value", "limit", "requests", "evidence"), "One check, one look."),
    Kind("check.inconclusive", _D, ("check", "reason_code", "value", "limit", "requests", "evidence"),
         "Not enough to say."),
    Kind("judge.looked", _I, ("evidence", "convicts", "check", "verdict", "requests"),
         "One look: one in `evidence` tolerable canaries ever looks this bad; rolled back from `convicts` on. `check` "
         "weighs most."),
    Kind("history.learned", _I, ("blocks", "pods", "error_rate", "clump", "bounds"),
         "What stable's past says: its usual error rate, and how many errors come together for one reason."),
    Kind("history.unavailable", _W, ("error",), "Stable's past could not be read; clumps are guessed."),
    Kind("check.failed", _W,
         ("check", "value", "limit", "requests", "bad", "stable_value", "evidence", "convicts", "query"),
         "The canary is worse than tolerated, beyond chance."),
    Kind("metrics.unavailable", _W, ("error",), "Prometheus gave no usable answer; nothing advances."),
    Kind("metrics.uncertain", _W, ("series",),
         "Counters whose start is not known: what they counted before their first sample is left out."),
    Kind("metrics.restored", _I, ("blind_s",), "Prometheus answers again."),
    Kind("release.paused", _I, ("actor", "reason"), "A person holds the release at its weight."),
    Kind("release.resumed", _I, (), "The hold by a person ended."),
    Kind("release.abort_requested", _W, ("actor", "reason"), "A person or CI wants all traffic back."),
    Kind("traffic.applied", _I, ("percent", "took_ms"), "An order was written to the VirtualService."),
    Kind("traffic.apply_failed", _E, ("percent", "error"), "It could not be written; the next cycle tries again."),
    Kind("traffic.unreadable", _E, ("error",), "The route cannot be read, so nothing can be decided; weights stay."),
    Kind("traffic.readable", _I, (), "The route can be read again."),
    Kind("traffic.drift_detected", _E, ("percent_ordered", "percent_seen"),
         "Somebody else changed the weights. They are respected; nothing advances until they fit."),
    Kind("traffic.drift_ended", _I, ("percent",), "The weights are as ordered again; the step's hold starts anew."),
    Kind("rollback.started", _E, ("trigger", "reason_code", "reason", "check", "value", "limit", "requests"),
         "All traffic is ordered back to stable."),
    Kind("rollback.reordered", _E, ("percent_seen", "times"), "Somebody undid a rollback; it is ordered once more."),
    Kind("rollback.stuck", _C, ("percent_seen", "reason"), "The rollback does not hold. Someone must look now."),
    Kind("rollback.done", _W, ("took_ms",), "All traffic was seen back at stable."),
    Kind("release.finishing", _I, (), "The last step passed; the old version's route entries are put away."),
    Kind("cleanup.skipped", _W, ("reason",), "A subset or destination could not be put away in time and was left."),
    Kind("release.succeeded", _I, ("duration_s",), "Promoted: the new version holds all traffic."),
    Kind("release.rolled_back", _W, ("reason_code", "reason", "duration_s"), "The end: stable holds all traffic."),
    Kind("release.aborted", _W, ("reason_code", "reason", "duration_s"), "The end, by a person's or CI's wish."),
    Kind("release.failed", _W, ("reason_code", "reason"),
         "The end without an outcome: before any traffic moved, or with the route gone."),
    Kind("policy.loaded", _I, ("file", "services"), "Policy files were read."),
    Kind("policy.invalid", _E, ("file", "error"), "A policy file is bad; its last good version stays in force."),
    Kind("settings.invalid", _E, ("error",), "The administrator's settings (`--config`) are bad; nothing began."),
    Kind("policy.removed", _W, ("file",), "A policy file is gone, and its policies with it."),
    Kind("gate.broken", _E, ("namespace", "release", "gate", "error"), "A defect of ours while a gate was asked."),
    Kind("notice.sent", _D, ("channel", "notice", "sequence", "attempts", "took_ms"), "A channel took a notice."),
    Kind("notice.failed", _W, ("channel", "notice", "sequence", "error", "attempts"),
         "A channel did not take a notice; it is tried again."),
    Kind("notice.given_up", _E, ("channel", "notice", "sequence", "error", "attempts"),
         "A channel has not taken a notice for so long that nobody tries any more."),
    Kind("notice.no_channel", _W, ("channel",), "A policy names a channel that the controller's settings do not know."),
    Kind("http.answered", _I, ("method", "route", "path", "code", "took_ms", "actor", "request_id"),
         "The HTTP API answered a request."),
    Kind("http.failed", _E, ("method", "route", "request_id", "error"), "A defect: the request was answered with 500."),
    Kind("auth.denied", _W, ("actor", "right", "namespace", "service", "request_id"),
         "Somebody asked the HTTP API for what they may not."),
    Kind("api.started", _I, ("version", "listen"), "The HTTP API takes requests."),
    Kind("api.unavailable", _E, ("error",), "The HTTP API cannot begin: no Kubernetes API, or bad settings."),
    Kind("api.stopped", _I, (), "The HTTP API ended in good order."),
    Kind("events.refused", _W, ("error",), "Kubernetes Events may not be written; releases go on without them."),
    Kind("controller.started", _I, ("version", "namespaces"),
         "The process is up; `leader.acquired` says when it acts."),
    Kind("controller.stopped", _I, (), "The controller ended in good order; weights stay as they are."),
    Kind("leader.acquired", _I, ("lease", "identity", "epoch"),
         "This controller holds the Lease and acts; `epoch` counts the changes of holder."),
    Kind("leader.lost", _W, ("lease", "identity", "epoch", "reason"),
         "This controller stopped acting and stands by: somebody else may lead."),
    Kind("leader.released", _I, ("lease", "identity", "epoch"), "This controller ended and gave the Lease up."),
    Kind("cluster.unavailable", _W, ("error",), "The Kubernetes API did not answer; nothing is decided meanwhile."),
    Kind("reconcile.failed", _E, ("error",), "A defect: this cycle was dropped, the next one starts afresh."),
)  # fmt: skip


class Notice(Model):
    """One event of one release, numbered so that announcing it again is recognised as the same."""

    sequence: int = Field(ge=1)
    at: Instant
    name: str
    fields: dict[str, Scalar] = Field(default_factory=dict)
    message: str = ""
    """One plain sentence for people."""

    @property
    def kind(self) -> Kind:
        """This event's entry in the catalogue."""
        return CATALOGUE[self.name]
