"""Waiting for a release: one line per event, a bounded end, and signals that become an abort at once.

A release is followed by reading it again and again: that survives restarts of the API server and of the controller,
and nothing must be resumed. A signal does not wait for the request under way.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from rollout.cli.choices import OnCancel
from rollout.cli.exits import ExitCode, Stop, outcome_of
from rollout.cli.narrative import changes
from rollout.cli.reporting import Report
from rollout.cli.session import Access, stop_for
from rollout.cli.terminal import complain, remark
from rollout.core.quantities import format_duration
from rollout.core.release import Release
from rollout.desk import Finished, Wanted
from rollout.ports import Conflict, NotFound, Outage, Refused

Interrupt = asyncio.Future[signal.Signals]
_ABORT_ANSWER_S = 2.0
"""Less than for other requests: GitHub kills a cancelled job 10 s after its SIGINT, and a fresh connection may do."""
_RETRY_ABORT_S = 0.2


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long to wait, and what a signal means."""

    timeout: timedelta
    on_cancel: OnCancel
    cancel_timeout: timedelta
    """From the signal: to write the abort and to see the traffic back."""
    by: str
    """Who aborts."""


@contextlib.contextmanager
def interrupts(report: Report) -> Iterator[Interrupt]:
    """The first SIGINT or SIGTERM as a future; the second ends the process at once, but for what is reported."""
    loop = asyncio.get_running_loop()
    first: Interrupt = loop.create_future()

    def arrived(number: signal.Signals) -> None:
        if not first.done():
            first.set_result(number)
            return
        said = "stopped at once, by a second signal; `rollout status --active` shows what goes on"
        complain(said)
        report.ended(128 + number, said)
        sys.stdout.flush()
        os._exit(128 + number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, arrived, number)
    try:
        yield first
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def either(task: "asyncio.Task[Any]", interrupt: Interrupt, within: timedelta | None = None) -> None:
    """Until the task is done, a signal came, or time is up; the caller looks which."""
    both: set[asyncio.Future[Any]] = {task, interrupt}
    seconds = within.total_seconds() if within is not None else None
    await asyncio.wait(both, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)


async def follow(access: Access, seen: Release, waiting: Waiting, interrupt: Interrupt, report: Report) -> ExitCode:
    """Tell what happens to the release until it ends, time is up, or a signal comes; the code to exit with."""
    name = seen.name
    report.saw(seen)
    ending = asyncio.create_task(until_finished(access, name, report))
    try:
        await either(ending, interrupt, waiting.timeout)
        if ending.done():
            return outcome_of(ending.result())
        if not interrupt.done():
            return _leave(
                access,
                report,
                ExitCode.TIMED_OUT,
                f"{name} is still under way after {format_duration(waiting.timeout)}; it goes on",
                name,
            )
        number = interrupt.result()
        if waiting.on_cancel is OnCancel.DETACH:
            return _leave(access, report, _code_of(number), f"{number.name}: no longer waiting; {name} goes on", name)
        return await _bring_back(access, name, waiting, number, ending, report)
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)


async def until_finished(access: Access, name: str, report: Report) -> Release:
    """Read the release until it has ended and tell every change. Stop if it is deleted or may not be read."""
    pace, loop = access.surroundings.pace, asyncio.get_running_loop()
    before: Release | None = None
    unclaimed_at: float | None = loop.time() + pace.unclaimed
    outage = False
    while True:
        try:
            release = await access.look(name, before)
        except Refused as error:
            raise _without_us(access, error, name) from error
        except Outage as error:
            if not outage:
                _event(access, f"{access.other_side} does not answer, still trying: {error}")
            outage = True
            await asyncio.sleep(access.between_looks)
            continue
        if outage:
            _event(access, f"{access.other_side} answers again")
        outage = False
        if release is None:
            raise Stop(ExitCode.INFRASTRUCTURE, f"{name} was deleted before its end was seen; look at its route")
        told = list(changes(before, release, access.home))
        if told or before is None:
            report.saw(release)
        for line in told:
            _event(access, line)
        before = release
        if release.status.phase.terminal:
            return release
        if release.status.observed_generation > 0:
            unclaimed_at = None
        if unclaimed_at is not None and loop.time() > unclaimed_at:
            unclaimed_at = None
            _event(
                access,
                f"no controller has taken {name} up in {pace.unclaimed:g}s: is `rollout serve` running, "
                f"and does it watch namespace {access.namespace}? still waiting",
            )


async def _bring_back(
    access: Access,
    name: str,
    waiting: Waiting,
    number: signal.Signals,
    ending: "asyncio.Task[Release]",
    report: Report,
) -> ExitCode:
    """Write the abort, then wait until the traffic is back; both within the cancel timeout."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + waiting.cancel_timeout.total_seconds()
    _event(access, f"{number.name}: aborting {name} (a second signal exits at once)")
    try:
        async with asyncio.timeout_at(deadline):
            written = await _write_abort(access, name, waiting.by, number)
    except TimeoutError:
        said = f"the abort could not be written; {name} goes on"
        complain(f"{said}\nstop it with `rollout abort {name}{access.elsewhere}`")
        report.ended(ExitCode.UNREACHABLE, said)
        return ExitCode.UNREACHABLE
    await asyncio.wait({ending}, timeout=max(0.0, deadline - loop.time()))
    if ending.done():
        release = ending.result()
        return _code_of(number) if written else outcome_of(release)
    said = "the abort is written, but the traffic was not seen back in time"
    return _leave(access, report, _code_of(number), said, name)


async def _write_abort(access: Access, name: str, by: str, number: signal.Signals) -> bool:
    """Until it is written: True; or until the release turns out to be over: False."""
    told = False
    while True:
        try:
            async with asyncio.timeout(_ABORT_ANSWER_S):
                await access.desk.wish(
                    Wanted(
                        namespace=access.namespace,
                        name=name,
                        verb="abort",
                        by=by,
                        reason=f"whoever waited for it was stopped ({number.name})",
                    )
                )
        except Finished:
            return False
        except (Refused, NotFound) as error:
            raise _without_us(access, error, name) from error
        except (Outage, Conflict, TimeoutError) as error:
            if not told:
                _event(access, f"the abort is not written yet, still trying: {str(error) or 'no answer in time'}")
            told = True
            await asyncio.sleep(_RETRY_ABORT_S)
        else:
            return True


def _without_us(access: Access, error: Exception, name: str) -> Stop:
    """The answer was no, and will be: what became of the release cannot be known here."""
    stop = stop_for(error)
    if isinstance(error, NotFound):
        return stop
    return Stop(stop.code, f"{stop}\n{name} goes on without whoever waited for it\n{_look_at(access, name)}")


def _leave(access: Access, report: Report, code: ExitCode, said: str, name: str) -> ExitCode:
    """Say that the release goes on without us, and how to look at it."""
    complain(f"{said}\n{_look_at(access, name)}")
    report.ended(code, said)
    return code


def _event(access: Access, line: str) -> None:
    remark(f"{access.clock.now():%H:%M:%SZ} {line}")


def _look_at(access: Access, name: str) -> str:
    there = f"{name}{access.elsewhere}"
    return f"look at it with `rollout status {there}`, wait again with `rollout wait {there}`"


def _code_of(number: signal.Signals) -> ExitCode:
    return ExitCode(128 + number)
