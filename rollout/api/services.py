"""Routes about services and policies: which there are, whether a text is valid, what is around a route; and who asks.

Belongs here: HTTP around `Policies`, `Preflight` and the reader of policies. Does not belong here: releases.
"""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from rollout.api.answers import declared, said
from rollout.api.backing import Backing
from rollout.api.forms import (
    CallerAnswer,
    FindingAnswer,
    Named,
    PreflightAnswer,
    PreflightAsk,
    ServiceAnswer,
    Services,
    ServiceSummary,
    Valid,
)
from rollout.api.passports import Bearer, Passport, Stood
from rollout.api.problems import Problem, outage, pointer
from rollout.core.access import Right
from rollout.core.freeze import EVERYWHERE, Freeze, in_force
from rollout.core.policy import PolicySpec
from rollout.core.quantities import Label
from rollout.core.release import Release, ReleaseSpec
from rollout.core.route import Unavailable

router = APIRouter(prefix="/v1")

_UNUSABLE: Final = ("policy-invalid", "policy-twice")
"""Why no release would begin, whatever else is well."""
_SMALLEST: Final = """\
apiVersion: rollout.dev/v1alpha1
kind: ServicePolicy
metadata: {name: checkout, namespace: shop}
"""
_YAML: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/yaml": {
                "schema": {"type": "string", "maxLength": 65536},
                "examples": {"smallest": {"value": _SMALLEST}},
            }
        },
    }
}


@router.get("/services", tags=["services"], summary="List services", responses=declared(ok={200: Services}))
async def listed(
    passport: Bearer,
    backing: Stood,
    namespace: Annotated[Label | None, Query(description="Only of this namespace; else of all.")] = None,
) -> Response:
    """Services that have, or had, a release. One that was never released is found by its name only."""
    newest: dict[tuple[str, str], Release] = {}
    freezes: list[Freeze] = []
    for where in await passport.demand_namespaces(namespace):
        newest |= {(one.namespace, one.spec.service): one for one in await backing.desk.list(where)}
        freezes.extend(await backing.desk.freezes(where))
    items = (
        ServiceSummary(
            namespace=key[0],
            service=key[1],
            newest=release.name,
            phase=release.status.phase,
            freeze=_frozen(freezes, *key, backing),
        )
        for key, release in sorted(newest.items())
    )
    return said(Services(items=tuple(items)))


@router.get(
    "/services/{namespace}/{name}",
    tags=["services"],
    summary="Look at a service",
    responses=declared(ok={200: ServiceAnswer}, codes=("not-found",)),
)
async def get(
    namespace: Annotated[Label, Path()], name: Annotated[Label, Path()], passport: Bearer, backing: Stood
) -> Response:
    """The policy in force, the newest release, what freezes it."""
    await passport.demand(namespace, name)
    found = await backing.policies.find(namespace, name)
    releases = await backing.desk.list(namespace, name)
    policy = found if isinstance(found, PolicySpec) else None
    if policy is None and not releases:
        raise Problem("not-found", f"{name} in {namespace} has neither a policy nor a release")
    freezes = list(await backing.desk.freezes(namespace))
    told = ServiceAnswer(
        namespace=namespace,
        service=name,
        policy=policy,
        problem="" if isinstance(found, PolicySpec) else found.message,
        newest=releases[-1] if releases else None,
        freeze=_frozen(freezes, namespace, name, backing),
    )
    return said(told)


@router.post(
    "/validate",
    tags=["services"],
    summary="Check policies",
    responses=declared(ok={200: Valid}, body=True),
    openapi_extra=_YAML,
)
async def validate(request: Request, passport: Bearer, backing: Stood) -> Response:
    """YAML as the controller reads it. What is wrong is told with line and column (from 1)."""
    passport.stamp()
    policies, misfits = await asyncio.to_thread(backing.check, await request.body())
    if misfits:
        errors = [
            {
                "pointer": pointer(one.path.split(".")) if one.path else "",
                "detail": f"{one.path}: {one.message}" if one.path else one.message,
                "line": one.line,
                "column": one.column,
            }
            for one in misfits
        ]
        first = errors[0]
        raise Problem("invalid", f"{first['line']}:{first['column']}: {first['detail']}", errors=errors)
    named = (Named(namespace=one.metadata.namespace, service=one.metadata.name) for one in policies)
    return said(Valid(policies=tuple(named)))


@router.post(
    "/preflight",
    tags=["services"],
    summary="Look around a route before a release",
    responses=declared(ok={200: PreflightAnswer}, codes=("refused",), body=True),
)
async def preflight(wanted: PreflightAsk, passport: Bearer, backing: Stood) -> Response:
    """What would make a release of this version hurt, or blind. Nothing is changed."""
    await passport.demand(wanted.namespace, wanted.service)
    if backing.preflight is None:
        raise Problem("refused", "this API was not set up to look around routes")
    policy, policy_from = await _policy(wanted, backing)
    spec = ReleaseSpec(service=wanted.service, version=wanted.version)
    target = Release(namespace=wanted.namespace, name="preflight", spec=spec).target(policy)
    report = await backing.preflight.inspect(target, policy)
    if isinstance(report, Unavailable):
        raise outage(report.message)
    findings = (
        FindingAnswer(
            code=one.code,
            severity=one.severity,
            object=one.object,
            message=one.message,
            action=one.action,
            link=one.link,
        )
        for one in report.findings
    )
    told = PreflightAnswer(
        namespace=wanted.namespace,
        service=wanted.service,
        version=wanted.version,
        policy=policy_from,
        version_label=report.version_label,
        errors=len(report.errors),
        warnings=len(report.warnings),
        findings=tuple(findings),
    )
    return said(told)


@router.get("/whoami", tags=["callers"], summary="Who asks", responses=declared(ok={200: CallerAnswer}))
async def whoami(
    passport: Bearer,
    namespace: Annotated[Label | None, Query(description="Say what they may do here; else everywhere.")] = None,
    service: Annotated[Label | None, Query(description="And for this service.")] = None,
) -> Response:
    """The caller, as we know them, and what they may do."""
    passport.stamp()
    who = passport.identity
    may = {right.value: await _may(passport, right, namespace, service) for right in Right}
    return said(CallerAnswer(name=who.name, groups=who.groups, issuer=who.issuer, may=may))


async def _may(passport: Passport, right: Right, namespace: str | None, service: str | None) -> bool:
    return await passport.may(right, namespace) or (
        service is not None and await passport.may(right, namespace, service)
    )


async def _policy(wanted: PreflightAsk, backing: Backing) -> tuple[PolicySpec, str]:
    """The policy in force, else that of the newest release, else the defaults; and which it is, for people."""
    found = await backing.policies.find(wanted.namespace, wanted.service)
    if isinstance(found, PolicySpec):
        return found, "the policy in force"
    if found.code in _UNUSABLE:
        raise Problem("refused", found.message)
    for release in reversed(await backing.desk.list(wanted.namespace, wanted.service)):
        if release.status.policy is not None:
            return release.status.policy, f"that of release {release.name}"
    return PolicySpec(), f"the defaults: {found.message}"


def _frozen(freezes: list[Freeze], namespace: str, service: str, backing: Backing) -> Freeze | None:
    scopes = {EVERYWHERE, namespace, f"{namespace}/{service}"}
    return in_force((one for one in freezes if one.scope in scopes), backing.clock.now())
