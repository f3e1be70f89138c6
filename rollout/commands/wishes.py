"""Pause, resume, promote, abort, approve: what can be asked of a release that is under way.

Belongs here: which wish is written to `Release.spec`, and when it makes no sense. Does not belong here: starting
(`starting.py`), what comes of a wish (`core/decide.py`).
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from rollout.core.gating import run_of
from rollout.core.release import Approval, Phase, Release, ReleaseSpec, SkipWish, Wish
from rollout.desk import Finished
from rollout.ports import Clock, Conflict, NotFound, Refused, Releases

ATTEMPTS = 20
"""How often a wish is tried again when the release changes under us. The controller saves about once per scrape."""
LONGEST_BY, LONGEST_REASON = 256, 1024
_TICK = timedelta(milliseconds=1)


async def pause(
    releases: Releases, clock: Clock, *, namespace: str, name: str, by: str = "", reason: str = "", revision: str = ""
) -> Release:
    """Do not advance until resumed; checks go on. Raises Finished, NotFound; Refused once it is ending anyway."""

    def change(release: Release) -> ReleaseSpec:
        _still_advancing(release, "pause")
        if release.spec.pause is not None:
            return release.spec
        return release.spec.model_copy(update={"pause": _wish(clock.now(), by, reason)})

    return await _ask(releases, namespace, name, change, revision)


async def resume(
    releases: Releases, clock: Clock, *, namespace: str, name: str, by: str = "", reason: str = "", revision: str = ""
) -> Release:
    """End a pause, and take the route back if somebody edited it. Nothing to resume changes nothing.

    Raises Finished, NotFound; Refused once it is ending anyway.
    """

    def change(release: Release) -> ReleaseSpec:
        _still_advancing(release, "resume")
        spec, drift = release.spec, release.status.drift
        asked = spec.resume.at if spec.resume is not None else None
        if spec.pause is None and (drift is None or (asked is not None and asked > drift.at)):
            return spec
        # The edit may bear a later time than ours, where the clocks differ; it is meant all the same.
        at = clock.now() if drift is None else max(clock.now(), drift.at + _TICK)
        return spec.model_copy(update={"pause": None, "resume": _wish(at, by, reason)})

    return await _ask(releases, namespace, name, change, revision)


async def abort(
    releases: Releases, clock: Clock, *, namespace: str, name: str, by: str = "", reason: str = "", revision: str = ""
) -> Release:
    """All traffic back to stable. The first one counts. Raises Finished, NotFound."""

    def change(release: Release) -> ReleaseSpec:
        if release.spec.abort is not None:
            return release.spec
        return release.spec.model_copy(update={"abort": _wish(clock.now(), by, reason)})

    return await _ask(releases, namespace, name, change, revision)


async def promote(
    releases: Releases, clock: Clock, *, namespace: str, name: str, by: str = "", reason: str = "", revision: str = ""
) -> Release:
    """End the hold of the current step as soon as its checks pass. Raises Finished, NotFound.

    The wish names the step it was made at, so that it can never skip another one. Raises Refused, with the reason, when
    there is no hold to skip.
    """

    def change(release: Release) -> ReleaseSpec:
        spec, step = release.spec, _step_on_hold(release)
        if spec.promote is not None and spec.promote.step == step:
            return spec
        wish = _wish(clock.now(), by, reason)
        return spec.model_copy(update={"promote": SkipWish(by=wish.by, at=wish.at, reason=wish.reason, step=step)})

    return await _ask(releases, namespace, name, change, revision)


async def approve(
    releases: Releases,
    clock: Clock,
    *,
    namespace: str,
    name: str,
    gate: str,
    by: str = "",
    reason: str = "",
    revision: str = "",
) -> Release:
    """Let a gate pass; the first approval of it stays, with who gave it and why.

    A gate may be approved before the release waits for it. Raises Finished, NotFound; Refused, with the names there
    are, for a gate that the release does not have.
    """

    def change(release: Release) -> ReleaseSpec:
        if release.spec.abort is not None or release.status.phase is Phase.ROLLING_BACK:
            raise Refused(f"nothing to approve: {release.name} is on its way back to stable")
        _has_gate(release, gate)
        spec = release.spec
        if any(one.gate == gate for one in spec.approvals):
            return spec
        wish = _wish(clock.now(), by, reason)
        approval = Approval(gate=gate, by=wish.by, at=wish.at, reason=wish.reason)
        return spec.model_copy(update={"approvals": (*spec.approvals, approval)})

    return await _ask(releases, namespace, name, change, revision)


def is_closed(release: Release) -> bool:
    """Nothing can be asked of it any more; a status that cannot be read is shown as Failed without an end."""
    unreadable = bool(release.problem) and release.status.finished_at is None
    return release.status.phase.terminal and not unreadable


async def _ask(
    releases: Releases, namespace: str, name: str, change: Callable[[Release], ReleaseSpec], revision: str
) -> Release:
    """Ask for what `change` makes of the spec; with a `revision` of that one or none, else Conflict."""
    for _ in range(ATTEMPTS):
        release = await releases.get(namespace, name)
        if release is None:
            raise NotFound(f"there is no release {name} in {namespace}")
        if revision not in {"", release.revision}:
            raise Conflict(f"{name} changed since it was read; read it again")
        if is_closed(release):
            raise Finished(release)
        spec = change(release)
        if spec == release.spec:
            return release
        try:
            return await releases.wish(release, spec)
        except Conflict:
            continue
    raise Conflict(f"{name} changed {ATTEMPTS} times while it was asked for; ask again")


def _wish(at: datetime, by: str, reason: str) -> Wish:
    """Too long texts are cut: an abort must not fail because of its reason."""
    return Wish(by=by[:LONGEST_BY], at=at, reason=reason[:LONGEST_REASON])


def _still_advancing(release: Release, verb: str) -> None:
    if release.spec.abort is not None or release.status.phase is Phase.ROLLING_BACK:
        raise Refused(f"nothing to {verb}: {release.name} is on its way back to stable")
    if release.status.phase is Phase.FINISHING:
        raise Refused(f"nothing to {verb}: {release.name} passed its last step and is finishing")


def _step_on_hold(release: Release) -> int:
    _still_advancing(release, "promote")
    status = release.status
    if status.phase is not Phase.ANALYSING or status.step is None:
        raise Refused(
            f"no hold to skip: {release.name} is {status.phase}" + (f" ({status.message})" if status.message else "")
        )
    if release.spec.pause is not None:
        raise Refused(f"no hold to skip: {release.name} is paused; resume it first")
    if status.drift is not None:
        raise Refused(
            f"no hold to skip: somebody set the route to {status.drift.percent} %; resume takes it back first"
        )
    return status.step


def _has_gate(release: Release, gate: str) -> None:
    """Before its policy is frozen, a release has the gates of its own policy and those that it waits for already."""
    policy = release.status.policy or release.spec.policy
    names = [one.name for one in policy.gates] if policy is not None else []
    names += [run.gate for run in release.status.gate_runs if run.gate not in names]
    if gate in names or run_of(release.status.gate_runs, gate) is not None:
        return
    if names:
        raise Refused(f"{release.name} has no gate {gate!r}; its gates are {', '.join(names)}")
    if policy is not None:
        raise Refused(f"{release.name} has no gate {gate!r}, and no other")
    raise Refused(f"which gates {release.name} has is not known before it waits for one: {release.status.phase}")
