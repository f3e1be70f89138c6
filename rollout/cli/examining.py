"""`whoami` and `doctor`: what the other verbs stand on. Changes nothing."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rollout.cli.choices import Output
from rollout.cli.exits import ExitCode, Stop
from rollout.cli.session import Access, Session, stop_for
from rollout.cli.terminal import columns, emit, say
from rollout.cli.views import encoded
from rollout.desk import Caller
from rollout.ports import Conflict, NotFound, Outage, Refused

_NEEDED = ("get", "list", "create", "abort")
"""Without these a person cannot release and stop what was released."""
_PROMETHEUS_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    code: ExitCode
    said: str

    @property
    def word(self) -> str:
        """For people and scripts."""
        return "ok" if self.code is ExitCode.OK else "failed"


async def introduced(access: Access, output: Output) -> ExitCode:
    """`rollout whoami`. Raises Outage, Refused."""
    caller = await access.in_time(access.desk.whoami(access.namespace))
    if output is not Output.TABLE:
        emit(encoded(_document(access, caller), output))
        return ExitCode.OK
    for line in columns(["", ""], _facts(access, caller))[1:]:
        say(line)
    return ExitCode.OK


def _facts(access: Access, caller: Caller) -> list[tuple[str, str]]:
    facts = [("asks", access.other_side), ("as", caller.name or "nobody in particular")]
    if caller.groups:
        facts.append(("groups", ", ".join(caller.groups)))
    if caller.may is not None:
        there = f"in {access.namespace}"
        facts.append(("may", f"{_words(verb for verb, may in caller.may.items() if may)} {there}"))
        facts.append(("may not", f"{_words(verb for verb, may in caller.may.items() if not may)} {there}"))
    return facts


def _words(verbs: Iterable[str]) -> str:
    return ", ".join(verbs) or "nothing"


def _document(access: Access, caller: Caller) -> dict[str, Any]:
    found: dict[str, Any] = {"name": caller.name, "groups": list(caller.groups), "namespace": access.namespace}
    if caller.may is not None:
        found["may"] = dict(caller.may)
    return found


def examined(session: Session, prometheus: str, output: Output) -> ExitCode:
    """`rollout doctor`: looks at everything, whatever fails; the code of the first that did."""
    try:
        found = session.run(_looked_at)
    except Stop as stop:
        found = [Finding("connection", stop.code, str(stop))]
    if prometheus:
        found.append(_prometheus(session, prometheus))
    if output is Output.TABLE:
        rows = [[one.what, one.word, one.said.replace("\n", "; ")] for one in found]
        for line in columns(["WHAT", "STATE", "DETAIL"], rows):
            say(line)
    else:
        emit(encoded([{"what": one.what, "state": one.word, "detail": one.said} for one in found], output))
    return next((one.code for one in found if one.code is not ExitCode.OK), ExitCode.OK)


async def _looked_at(access: Access) -> list[Finding]:
    async def releases() -> str:
        found = await access.desk.list(access.namespace)
        active = sum(not release.status.phase.terminal for release in found)
        return f"{len(found)} in {access.namespace}, {active} under way"

    async def freezes() -> str:
        now = access.clock.now()
        held = [one.scope for one in await access.desk.freezes(access.namespace) if one.holds(now)]
        return f"frozen: {', '.join(held)}" if held else "nothing is frozen"

    async def rights() -> str:
        caller = await access.desk.whoami(access.namespace)
        lacking = [verb for verb in _NEEDED if caller.may is not None and not caller.may.get(verb, True)]
        if lacking:
            raise Stop(ExitCode.NOT_ALLOWED, f"{caller.name} may not {', '.join(lacking)} in {access.namespace}")
        return f"{caller.name or 'nobody in particular'} may {', '.join(_NEEDED)} in {access.namespace}"

    looks = (("releases", releases), ("freezes", freezes), ("rights", rights))
    found = [await _finding(access, what, look) for what, look in looks]
    if all(one.code is ExitCode.UNREACHABLE for one in found):
        return [Finding("connection", ExitCode.UNREACHABLE, found[0].said)]
    return [Finding("connection", ExitCode.OK, f"to {access.other_side}"), *found]


async def _finding(access: Access, what: str, look: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(what, ExitCode.OK, await access.in_time(look()))
    except Stop as stop:
        return Finding(what, stop.code, str(stop))
    except (Outage, Refused, NotFound, Conflict) as error:
        meant = stop_for(error)
        return Finding(what, meant.code, str(meant))


def _prometheus(session: Session, url: str) -> Finding:
    """Whether it answers a question about a service that is not there with silence, and not with an error."""
    import asyncio
    from datetime import timedelta

    from rollout.cli.asking import Source
    from rollout.core.policy import Metrics as MetricsPolicy
    from rollout.core.route import Unavailable
    from rollout.ports import Subject

    source = Source(url, None, "cluster.local")
    nobody = Subject("rollout-doctor", "nobody", "v2", "v1", MetricsPolicy(), (1000.0,))

    async def asked() -> Finding:
        opened = session.surroundings.assembly().metrics(
            source.url, None, timedelta(seconds=_PROMETHEUS_SECONDS), source.domain
        )
        now = session.surroundings.assembly().now()
        async with opened as metrics:
            answer = await metrics.samples(nobody, now - timedelta(minutes=1), now)
        if isinstance(answer, Unavailable):
            return Finding("prometheus", ExitCode.UNREACHABLE, answer.message)
        return Finding("prometheus", ExitCode.OK, f"answers at {url}")

    return asyncio.run(asked())
