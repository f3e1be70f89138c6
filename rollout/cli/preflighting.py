"""`rollout preflight`: what is around a route and would make a release of this version hurt, or blind.

Belongs here: which release is meant, and how findings are told: for people, for scripts, for GitHub's annotations. Does
not belong here: what is looked at, which is the controller's own preflight (`adapters/preflight/`).
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import typer
from pydantic import ValidationError

from rollout.cli import asking
from rollout.cli.asking import Asked, Source
from rollout.cli.choices import Findings
from rollout.cli.connecting import Cluster, Surveyor
from rollout.cli.exits import ExitCode, Stop
from rollout.cli.session import Access, Session
from rollout.cli.terminal import emit, instruct, say
from rollout.cli.views import one_line
from rollout.core.policy import PolicySpec
from rollout.core.preflight import Finding, Report, Severity
from rollout.core.release import Release, ReleaseSpec
from rollout.core.route import Target, Unavailable

_TIMEOUT = timedelta(seconds=5)
_CHOSEN = "version-label"
"""Code of the finding that says why a label was chosen: told in the last line, not as a block."""
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}
"""Severities in the words of GitHub's workflow commands."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to look at, where the metrics are, how to print."""

    asked: Asked
    version: str
    source: Source | None
    """None where the HTTP API looks, with its own."""
    form: Findings


@dataclass(frozen=True, slots=True)
class Inspected:
    """What was looked at, and what was found."""

    target: Target
    policy_from: str
    report: Report

    @property
    def label(self) -> str:
        """How the versions are told apart, and why."""
        said = next((one.message for one in self.report.findings if one.code == _CHOSEN), None)
        if said is not None:
            return f"versions are told apart by {said}"
        if self.report.version_label is not None:
            return f"versions are told apart by {self.report.version_label}"
        return "which label tells the versions apart is not known"

    @property
    def told(self) -> tuple[Finding, ...]:
        """What is worth a block, errors first."""
        return tuple(one for one in self.report.findings if one.code != _CHOSEN)


def preflight(session: Session, wanted: Wanted) -> ExitCode:
    """Look, print; 22 where an error would keep the release from starting."""
    found = session.run(_asked_for(wanted)) if wanted.source is None else _inspected(session, wanted, wanted.source)
    if wanted.form is Findings.JSON:
        emit(one_line(document(found), indent=2))
    else:
        for line in annotations(found) if wanted.form is Findings.GITHUB else text(found):
            (instruct if line.startswith("::") else say)(line)
    return ExitCode.REFUSED if found.report.errors else ExitCode.OK


def _asked_for(wanted: Wanted) -> Callable[[Access], Awaitable[Inspected]]:
    """Have the HTTP API look."""
    service, version = wanted.asked.service, wanted.version

    async def ask(access: Access) -> Inspected:
        target = _target(access.namespace, service, version, PolicySpec())
        assert isinstance(access.desk, Surveyor)
        policy_from, report = await access.desk.preflight(access.namespace, service, version)
        return Inspected(target, policy_from, report)

    return ask


def _inspected(session: Session, wanted: Wanted, source: Source) -> Inspected:
    service, known = wanted.asked.service, None
    if wanted.asked.policy is not None:
        # Who is stable is read from the route itself: any name will do to make the file say the rest.
        known = asking.settled(session, Asked(service, wanted.asked.policy, stable=wanted.version))

    async def look(access: Access, there: Cluster) -> Inspected:
        namespace = access.namespace if known is None else known.namespace
        policy, policy_from = (known.policy, known.policy_from) if known else await _last_policy(access, there, service)
        target = _target(namespace, service, wanted.version, policy)
        opened = session.surroundings.assembly().preflight
        cluster = (session.kubeconfig, session.context)
        async with opened(
            *cluster, source.url, source.token_file, _TIMEOUT, source.domain, source.matchers
        ) as inspector:
            report = await inspector.inspect(target, policy)
        if isinstance(report, Unavailable):
            raise Stop(ExitCode.UNREACHABLE, f"{report.message}\nnothing was changed; try again")
        return Inspected(target, policy_from, report)

    return session.on_the_cluster(look)


async def _last_policy(access: Access, there: Cluster, service: str) -> tuple[PolicySpec, str]:
    """The service's policy object, else that of its newest release, else the defaults; and which it is, for people."""
    place = f"ServicePolicy {service} in namespace {access.namespace}"
    found = await there.policies.find(access.namespace, service)
    if isinstance(found, PolicySpec):
        return found, place
    if found.code == "policy-invalid":
        raise Stop(ExitCode.USAGE, found.message)
    for release in reversed(await access.desk.list(access.namespace, service)):
        if release.status.policy is not None:
            return release.status.policy, f"that of release {release.name}"
    return PolicySpec(), "the defaults: no release of the service has a policy, and no --policy is given"


def _target(namespace: str, service: str, version: str, policy: PolicySpec) -> Target:
    """The objects that the release would step. Raises a usage error for what can be no service or no version."""
    try:
        spec = ReleaseSpec(service=service, version=version)
        return Release(namespace=namespace, name="preflight", spec=spec).target(policy)
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def text(found: Inspected) -> Iterator[str]:
    """For people: a block for each finding, a line to sum it up."""
    target = found.target
    yield f"{target.service} in {target.namespace}, version {target.canary}; policy: {found.policy_from}"
    yield ""
    for one in found.told:
        yield f"{one.severity}  {one.code}  {one.object}"
        yield f"  {one.message}"
        yield f"  do: {one.action}"
        yield f"  {one.link}"
        yield ""
    yield f"{_counted(found.told)}; {found.label}"


def _counted(findings: Sequence[Finding]) -> str:
    """`2 errors, 1 warning`."""
    counts = {severity: sum(one.severity == severity for one in findings) for severity in _LEVELS}
    words = [f"{count} {name}{'s' if count > 1 and name != 'info' else ''}" for name, count in counts.items() if count]
    return ", ".join(words) or "nothing found"


def annotations(found: Inspected) -> Iterator[str]:
    """GitHub's workflow commands, which show as annotations of the job."""
    for one in found.told:
        title = _property(f"{one.code}: {one.object}")
        yield f"::{_LEVELS[one.severity]} title={title}::{_data(f'{one.message}; do: {one.action} ({one.link})')}"
    yield f"{_counted(found.told)}; {found.label}"


def _data(value: str) -> str:
    """The escapes of a workflow command's message (actions/toolkit, command.ts, escapeData)."""
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    """The escapes of its parameters (escapeProperty)."""
    return _data(value).replace(":", "%3A").replace(",", "%2C")


def document(found: Inspected) -> dict[str, Any]:
    """For scripts."""
    target, report = found.target, found.report
    return {
        "service": target.service,
        "namespace": target.namespace,
        "version": target.canary,
        "policy": found.policy_from,
        "versionLabel": report.version_label,
        "errors": len(report.errors),
        "warnings": len(report.warnings),
        "findings": [
            {
                "code": one.code,
                "severity": one.severity,
                "object": one.object,
                "message": one.message,
                "action": one.action,
                "link": one.link,
            }
            for one in report.findings
        ],
    }
