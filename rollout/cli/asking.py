"""Whose past is asked for, and where: service, policy and stable version of `replay` and `plan`, the way to Prometheus.

Belongs here: what both verbs need before they look at history. What they find in it is in replaying.py and planning.py.
"""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rollout.cli.exits import ExitCode, Stop
from rollout.cli.session import Access, Session
from rollout.core.judging import gates
from rollout.core.policy import PolicySpec
from rollout.core.quantities import format_duration, format_instant, format_share, parse_duration
from rollout.core.release import Phase, Release
from rollout.core.route import Unavailable
from rollout.ports import Metrics, Subject
from rollout.settings import MATCHER, PROMETHEUS

if TYPE_CHECKING:
    from rich.progress import TaskID

Progress = Callable[[float], None]
SLOWEST_MS = 10_000.0
_TIMEOUT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the history is. Raises a usage error for what is no address or no matcher."""

    url: str
    token_file: Path | None
    domain: str
    matchers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not PROMETHEUS.fullmatch(self.url):
            hint = (
                "expected http://HOST:PORT; `kubectl -n istio-system port-forward svc/prometheus 9090` and then "
                "http://127.0.0.1:9090 is one way"
            )
            raise typer.BadParameter(hint, param_hint="--prometheus")
        for matcher in self.matchers:
            if not MATCHER.fullmatch(matcher):
                said = f'expected label="value", such as cluster="eu-1", not {matcher!r}'
                raise typer.BadParameter(said, param_hint="--prometheus-matcher")

    def opened(self, session: Session) -> AbstractAsyncContextManager[Metrics]:
        """The way to it."""
        return session.surroundings.assembly().metrics(self.url, self.token_file, _TIMEOUT, self.domain, self.matchers)


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for, on the command line."""

    service: str
    policy: Path | None = None
    stable: str | None = None
    versions: tuple[str, str] | None = None
    """(stable, canary) of a release of the past."""


@dataclass(frozen=True, slots=True)
class Known:
    """The same, with everything that was left open found out."""

    namespace: str
    service: str
    policy: PolicySpec
    policy_from: str
    """For people: which policy this is."""
    stable: str
    stable_from: str
    canary: str | None = None

    @property
    def heading(self) -> str:
        """What this is about, on one line."""
        return (
            f"{self.service} in {self.namespace}, stable {self.stable} ({self.stable_from}); policy: {self.policy_from}"
        )

    @property
    def left_out(self) -> tuple[str, ...]:
        """What of the policy's checks is read of pods and in PromQL of its own, and is neither replayed nor planned."""
        return (*(gates.custom_name(check) for check in self.policy.checks.custom), "saturation")

    def not_tried(self, verb: str) -> str:
        """The same in a line: `not replayed: custom queue, depth; saturation`."""
        names = ", ".join(check.name for check in self.policy.checks.custom)
        return f"not {verb}: " + (f"custom {names}; " if names else "") + "saturation"

    def warnings(self, base: float) -> list[str]:
        """What is at odds in the policy where stable fails so often."""
        said, checks, first = [], self.policy.checks, self.policy.steps[0]
        timed = checks.latency.compare != () or checks.latency.objectives
        if timed and self.policy.judge.warm_up >= first.hold:
            warm, hold = format_duration(self.policy.judge.warm_up), format_duration(first.hold)
            said.append(
                f"judge.warmUp ({warm}) is not shorter than the first hold ({hold}): latency is not judged in step 1, "
                "and it is not left before the canary is warm"
            )
        if checks.errors.max < base:
            said.append(
                f"errors.max ({format_share(checks.errors.max)}) is below stable's own rate "
                f"({format_share(float(f'{base:.2g}'))}): while stable breaks it too, nothing advances"
            )
        return said

    def subject(self, bounds: tuple[float, ...]) -> Subject:
        """In the words of the metrics. Where there is no canary, nothing is counted as one."""
        versions = (self.canary or "", self.stable)
        names = tuple(self.policy.deployment_of(self.service, one) if one else "" for one in versions)
        by_workload = self.policy.metrics.series_label == "destination_workload"
        canary, stable = names if by_workload else versions
        return Subject(
            namespace=self.namespace,
            service=self.service,
            canary=canary,
            stable=stable,
            policy=self.policy.metrics,
            bounds_ms=bounds,
            versions=versions,
            workloads=(names[0], names[1]),
            interval=self.policy.interval,
        )

    def bounds(self) -> tuple[float, ...]:
        """Every latency bound (ms) that is worth reading, ascending."""
        buckets = {bound for bound in self.policy.metrics.buckets if bound <= SLOWEST_MS}
        return tuple(sorted(buckets | {*self.policy.named_bounds_ms()}))


def settled(session: Session, asked: Asked) -> Known:
    """Find out what was left open; asks the cluster only for what the command line does not say. Raises Stop."""
    named = asked.versions[0] if asked.versions else asked.stable
    canary = asked.versions[1] if asked.versions else None
    said = "by --versions" if asked.versions else "by --stable"
    namespace, policy = session.namespace, None
    if asked.policy is not None:
        namespace, policy = _read(session, asked.policy, asked.service)
        if named is not None:
            return Known(namespace, asked.service, policy, f"{asked.policy}", named, said, canary)
    found, namespace = _releases(session, asked, namespace)
    frozen = next(((one.status.policy, one) for one in found if one.status.policy is not None), None)
    source = f"{asked.policy}"
    if policy is None:
        policy, source = PolicySpec(), "the defaults: no release of the service has a policy, and no --policy is given"
        if frozen is not None:
            assert frozen[0] is not None
            policy, source = frozen[0], f"that of release {frozen[1].name}"
    if named is None:
        held = next(((version, one) for one in found if (version := _holder(one)) is not None), None)
        if held is None:
            raise Stop(
                ExitCode.USAGE,
                f"which version of {asked.service} is stable is not known: namespace {namespace} has no release of it\n"
                "name it with --stable, or both versions of a past release with `replay --versions`",
            )
        named, said = held[0], f"since release {held[1].name}"
    return Known(namespace, asked.service, policy, source, named, said, canary)


def _holder(release: Release) -> str | None:
    """Who held the traffic after it; None where it never got so far as to see."""
    return release.spec.version if release.status.phase is Phase.PROMOTED else release.status.stable


def _read(session: Session, file: Path, service: str) -> tuple[str, PolicySpec]:
    policies, problems = session.surroundings.assembly().read_policies([file])
    if problems:
        raise Stop(ExitCode.USAGE, "\n".join(problems))
    fitting = {
        one.metadata.namespace: one.spec
        for _, one in policies
        if one.metadata.name == service and session.namespace in {None, one.metadata.namespace}
    }
    if len(fitting) != 1:
        where = f" in namespace {session.namespace}" if session.namespace else ""
        many = f"has a policy for {service} in {', '.join(sorted(fitting))}: say which with --namespace"
        raise Stop(ExitCode.USAGE, f"{file} {many}" if fitting else f"{file} holds no policy for {service}{where}")
    return next(iter(fitting.items()))


def _releases(session: Session, asked: Asked, namespace: str | None) -> tuple[list[Release], str]:
    """All releases of the service, newest first, and the namespace that was looked at."""

    async def fetch(access: Access) -> tuple[list[Release], str]:
        where = namespace or access.namespace
        return [*reversed(await access.desk.list(where, asked.service))], where

    try:
        return session.run(fetch)
    except Stop as stop:
        lacking = "--stable is" if asked.policy else "--policy and --stable are"
        if stop.code not in {ExitCode.UNREACHABLE, ExitCode.NOT_ALLOWED}:
            raise
        raise Stop(stop.code, f"{stop}\nno cluster is needed if {lacking} given") from stop


def instant(text: str, now: datetime, option: str) -> datetime:
    """`24h` (ago) or RFC 3339; a usage error that names the option otherwise."""
    try:
        if re.fullmatch(r"[0-9hmsd]+", text):
            return now - parse_duration(text)
        when = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        when = None
    if when is None or when.tzinfo is None:
        said = f"expected a time such as 2026-11-21T12:00:00Z, or how long ago, such as 24h, not {text!r}"
        raise typer.BadParameter(said, param_hint=option)
    return when.astimezone(now.tzinfo)


def usable(answer: Unavailable | object) -> None:
    """Stop where Prometheus gave nothing to go by."""
    if isinstance(answer, Unavailable):
        raise Stop(
            ExitCode.UNREACHABLE,
            f"{answer.message}\nsay where the history is with --prometheus, and whether it needs "
            "--prometheus-token-file",
        )


def no_traffic(known: Known, version: str, since: datetime, until: datetime) -> Stop:
    """Why nothing can be said, and what to look at."""
    metrics = known.policy.metrics
    by_workload = metrics.series_label == "destination_workload"
    value = known.policy.deployment_of(known.service, version) if by_workload else version
    return Stop(
        ExitCode.USAGE,
        f"no requests of {known.service}.{known.namespace} to {version} between {format_instant(since)} and "
        f"{format_instant(until)}\n"
        f'looked for {metrics.series_label}="{value}" from the reporters {", ".join(metrics.reporters)}; '
        "another version, namespace or window may be meant",
    )


@contextmanager
def bars() -> Iterator[Callable[[str], Progress]]:
    """A bar for each thing that takes long, on stderr; on a terminal only, and gone when all is done."""
    if not sys.stderr.isatty():
        yield lambda _title: _silently
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Rich

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Rich(*columns, console=Console(stderr=True), transient=True) as shown:

        def bar(title: str) -> Progress:
            task: TaskID = shown.add_task(title, total=1.0)
            return lambda share: shown.update(task, completed=share)

        yield bar


def _silently(_share: float) -> None:
    """Nobody watches."""
