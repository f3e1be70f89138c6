"""Starting a release: once, however often it is asked for.

Belongs here: the name that makes a key count once, and what stands in the way of a start. Does not belong here: what a
release that was created waits for before it begins (`core/waiting.py`).

A release that is asked for with an idempotency key is named after its service and that key alone, so that the object
store's create decides between any number of requests with the same key: one creates, all others find what it made.
"""

import hashlib
import secrets

from pydantic import ValidationError

from rollout.commands.freezing import frozen_by
from rollout.core.quantities import format_instant
from rollout.core.release import Release, ReleaseSpec
from rollout.core.route import subset_name
from rollout.desk import Busy, Frozen, KeyReused, Order, Started
from rollout.ports import Clock, Conflict, Freezes, Refused, Releases

_LONGEST_NAME = 63
_DIGEST = 10
_REQUEST = ("service", "version", "policy", "onConflict", "notBefore")
"""What makes two requests the same; who asked, and from where, may differ."""


async def start(releases: Releases, freezes: Freezes, clock: Clock, order: Order) -> Started:
    """Ask for a release. With the same `key`, asking again is answered with the same release.

    Two that are asked for at the same moment with different keys are both created; the controller refuses the younger
    one. Whether something is frozen is the controller's to know in the end: where it cannot be read here, the release
    is created and waits there.

    Raises:
        KeyReused: the key was used for another request.
        Frozen: nobody may start now; a release that queues waits instead.
        Busy: an unfinished release of the service exists, and the order is to be refused then.
        Refused: names that cannot be; the API does not accept it.
    """
    spec = _spec(order)
    namespace, key = order.namespace, order.key
    name = _random_name(spec) if key is None else _name_by_key(spec.service, key)
    obstacle = await _obstacle(releases, freezes, clock, namespace, spec)
    if obstacle is None:
        try:
            made = await releases.create(namespace, name, spec, "" if key is None else _digest(key))
        except Conflict:
            # Somebody asked with the same key before; whoever did finds what that made, whatever came since.
            obstacle = Refused(f"{name} was deleted while it was being started")
        else:
            return Started(made, replayed=False)
    earlier = await releases.get(namespace, name) if key is not None else None
    if earlier is None:
        raise obstacle
    return _replayed(earlier, spec)


async def _obstacle(
    releases: Releases, freezes: Freezes, clock: Clock, namespace: str, spec: ReleaseSpec
) -> Refused | None:
    """Why nothing new may start now; None if nothing speaks against it."""
    if spec.on_conflict != "queue" and (freeze := await frozen_by(freezes, clock, spec, namespace)) is not None:
        return Frozen(freeze)
    if spec.on_conflict == "reject" and (rival := await _rival(releases, namespace, spec.service)) is not None:
        return Busy(rival)
    return None


def _spec(order: Order) -> ReleaseSpec:
    try:
        return ReleaseSpec(
            service=order.service,
            version=order.version,
            policy=order.policy,
            source=order.source,
            on_conflict=order.on_conflict,
            not_before=order.not_before,
        )
    except ValidationError as error:
        raise Refused("; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())) from error


async def _rival(releases: Releases, namespace: str, service: str) -> Release | None:
    """The oldest unfinished release of the service; a watch spares us reading all that ever were."""
    told = releases.unfinished(namespace, service)
    if told is None:
        return next((one for one in await releases.list(namespace, service) if not one.status.phase.terminal), None)
    for _, name in told:
        # What was told a moment ago may have ended or gone.
        found = await releases.get(namespace, name)
        if found is not None and not found.status.phase.terminal and found.spec.service == service:
            return found
    return None


def _replayed(release: Release, wanted: ReleaseSpec) -> Started:
    before, now = release.spec.wire(), wanted.wire()
    if differing := [field for field in _REQUEST if before.get(field) != now.get(field)]:
        spec = release.spec
        raise KeyReused(
            release,
            f"this idempotency key was used for another request: {release.name} releases {spec.service} {spec.version}"
            + (f", not before {format_instant(spec.not_before)}" if spec.not_before else "")
            + f"; other are {', '.join(differing)}",
        )
    return Started(release, replayed=True)


def _name_by_key(service: str, key: str) -> str:
    """`checkout-1f0e9a3c77`: nothing of the request but service and key, or two requests with one key could both be."""
    return _name(service, _digest(f"{service}/{key}"))


def _random_name(spec: ReleaseSpec) -> str:
    """`checkout-v2-1f0e9a3c77`."""
    return _name(f"{spec.service}-{subset_name(spec.version)}", secrets.token_hex(_DIGEST))


def _name(stem: str, digest: str) -> str:
    """What does not fit is cut off before the digest, which keeps it apart."""
    return f"{stem[: _LONGEST_NAME - _DIGEST - 1].rstrip('-')}-{digest[:_DIGEST]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
