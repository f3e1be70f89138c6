"""What people and CI can ask for: start, pause, resume, promote, abort. All of it is writing wishes to `Release.spec`.

Belongs here: which wish is written, when it makes no sense, and that asking twice is the same as asking once. Does not
belong here: carrying a wish out (`core/decide.py`), printing (`cli/`).

The wishes are compare-and-set on the release as read; if it changed meanwhile it is read and considered again.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError

from rollout.core.policy import PolicySpec
from rollout.core.quantities import format_instant
from rollout.core.release import Phase, Release, ReleaseSpec, SkipWish, Source, Wish
from rollout.core.route import subset_name
from rollout.ports import Clock, Conflict, NotFound, Refused, Releases

ATTEMPTS = 20
"""How often a wish is tried again when the release changes under us. The controller saves about once per scrape."""
_LONGEST_NAME = 63
_DIGEST = 10
_TICK = timedelta(milliseconds=1)


class Busy(Refused):
    """Another release of the service is under way: `release`."""

    def __init__(self, release: Release) -> None:
        status = release.status
        since = status.since or release.created_at
        when = f" since {format_instant(since)}" if since else ""
        super().__init__(
            f"another release of {release.spec.service} is under way: {release.name} "
            f"(version {release.spec.version}, {status.phase}{when})"
        )
        self.release = release


class Finished(Refused):
    """The release is over, nothing can be asked of it any more: `release`."""

    def __init__(self, release: Release) -> None:
        why = release.problem or release.status.message
        super().__init__(f"{release.name} is over: {release.status.phase}" + (f" ({why})" if why else ""))
        self.release = release


@dataclass(frozen=True, slots=True)
class Started:
    """A release that was asked for. `replayed`: it had been, with the same key, and nothing was created."""

    release: Release
    replayed: bool


async def start(
    releases: Releases,
    clock: Clock,  # noqa: ARG001 - every verb is called alike; the time of a start is the API server's
    *,
    namespace: str,
    service: str,
    version: str,
    source: Source,
    key: str | None,
    policy: PolicySpec | None = None,
) -> Started:
    """Ask for a release of `version`. With the same `key`, asking again is answered with the same release.

    Two that are asked for at the same moment are both created; the controller refuses the younger one.

    Raises:
        Busy: an unfinished release of the service exists.
        Refused: names that cannot be; the key was used for another version or policy; the API does not accept it.
    """
    try:
        spec = ReleaseSpec(service=service, version=version, policy=policy, source=source)
    except ValidationError as error:
        raise Refused("; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())) from error
    digest = hashlib.sha256((secrets.token_hex(16) if key is None else key).encode()).hexdigest()
    name = _name(service, version, digest)
    earlier = await releases.list(namespace, service)
    if key is not None:
        for release in earlier:
            if release.name.endswith(f"-{digest[:_DIGEST]}"):
                return _replayed(release, spec)
    for release in earlier:
        if not release.status.phase.terminal:
            raise Busy(release)
    try:
        return Started(await releases.create(namespace, name, spec, digest if key is not None else ""), replayed=False)
    except Conflict:
        # Somebody asked with the same key a moment ago.
        found = await releases.get(namespace, name)
        if found is None:
            raise Refused(f"{name} was deleted while it was being started") from None
        return _replayed(found, spec)


async def pause(
    releases: Releases, clock: Clock, *, namespace: str, name: str, by: str = "", reason: str = ""
) -> Release:
    """Do not advance until resumed; checks go on. Raises Finished, NotFound; Refused once it is ending anyway."""

    def change(release: Release) -> ReleaseSpec:
        _still_advancing(release, "pause")
        if release.spec.pause is not None:
            return release.spec
        return release.spec.model_copy(update={"pause": _wish(clock.now(), by, reason)})

    return await _ask(releases, namespace, name, change)


async def resume(
    releases: Releases, clock: Clock, *, namespace: str, name: str, by: str = "", reason: str = ""
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

    return await _ask(releases, namespace, name, change)


async def abort(
    releases: Releases, clock: Clock, *, namespace: str, name: str, by: str = "", reason: str = ""
) -> Release:
    """All traffic back to stable. The first one counts. Raises Finished, NotFound."""

    def change(release: Release) -> ReleaseSpec:
        if release.spec.abort is not None:
            return release.spec
        return release.spec.model_copy(update={"abort": _wish(clock.now(), by, reason)})

    return await _ask(releases, namespace, name, change)


async def promote(
    releases: Releases, clock: Clock, *, namespace: str, name: str, by: str = "", reason: str = ""
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

    return await _ask(releases, namespace, name, change)


async def find(releases: Releases, namespace: str, name_or_service: str) -> Release:
    """The release of that id, else the service's: the newest unfinished one before the newest. Raises NotFound."""
    if (release := await releases.get(namespace, name_or_service)) is not None:
        return release
    of_service = await releases.list(namespace, name_or_service)
    if not of_service:
        raise NotFound(f"there is no release {name_or_service} in {namespace}, nor any of a service of that name")
    return _preferred(of_service)


def _preferred(releases: Sequence[Release]) -> Release:
    unfinished = [release for release in releases if not release.status.phase.terminal]
    return (unfinished or releases)[-1]


async def _ask(releases: Releases, namespace: str, name: str, change: Callable[[Release], ReleaseSpec]) -> Release:
    for _ in range(ATTEMPTS):
        release = await releases.get(namespace, name)
        if release is None:
            raise NotFound(f"there is no release {name} in {namespace}")
        # A status that cannot be read is shown as Failed without an end: an abort is noted all the same.
        unreadable = bool(release.problem) and release.status.finished_at is None
        if release.status.phase.terminal and not unreadable:
            raise Finished(release)
        spec = change(release)
        if spec == release.spec:
            return release
        try:
            return await releases.wish(release, spec)
        except Conflict:
            continue
    raise Conflict(f"{name} changed {ATTEMPTS} times while it was asked for; ask again")


def _name(service: str, version: str, digest: str) -> str:
    """`checkout-v2-1f0e9a3c77`; what does not fit is cut off before the digest, which keeps it apart."""
    stem = f"{service}-{subset_name(version)}"[: _LONGEST_NAME - _DIGEST - 1].rstrip("-")
    return f"{stem}-{digest[:_DIGEST]}"


def _replayed(release: Release, wanted: ReleaseSpec) -> Started:
    spec = release.spec
    if (spec.service, spec.version, spec.policy) != (wanted.service, wanted.version, wanted.policy):
        raise Refused(
            f"this idempotency key was used for another request: {release.name} releases {spec.service} {spec.version}"
            + ("" if spec.policy == wanted.policy else " with another policy")
        )
    return Started(release, replayed=True)


def _wish(at: datetime, by: str, reason: str) -> Wish:
    """Too long texts are cut: an abort must not fail because of its reason."""
    return Wish(by=by[:256], at=at, reason=reason[:1024])


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
