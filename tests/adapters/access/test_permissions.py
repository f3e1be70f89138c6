"""Who may do what: every right, for every kind of caller, in every place. What nobody granted is refused."""

import asyncio
import itertools
from typing import Any

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.permissions import HOLDS, Permissions
from rollout.core.access import Identity, Right
from rollout.core.policy import PolicySpec
from rollout.core.route import Problem
from rollout.ports import Outage
from tests.adapters.access.conftest import Seconds
from tests.adapters.access.listener import JsonObject, Listener, Said

PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
ANN = Identity(name="ann", groups=("dev",), uid="7", extra={"scopes": ("a", "b")})
JOB = Identity(
    name="github:repo:acme/checkout",
    issuer="github",
    claims={"repository_id": "4711", "environment": "production", "ref": "refs/heads/main"},
)
POLICIES: dict[tuple[str, str], list[JsonObject]] = {
    ("shop", "checkout"): [{"issuer": "github", "repositoryId": "4711"}],
    ("shop", "ledger"): [{"issuer": "github", "repositoryId": "4711", "verbs": ["get"]}],
    ("shop", "basket"): [{"issuer": "github", "repositoryId": "1"}],
    ("shop", "search"): [{"issuer": "gitlab", "projectId": "4711"}],
    ("shop", "closed"): [],
    ("pay", "checkout"): [
        {
            "issuer": "github",
            "repositoryId": "4711",
            "environment": "production",
            "verbs": ["create", "get", "abort", "pause", "resume", "promote", "approve"],
        }
    ],
}


class Known:
    """`ports.Policies` of `POLICIES`."""

    def __init__(self) -> None:
        self.reachable = True

    async def find(self, namespace: str, service: str) -> PolicySpec | Problem:
        if not self.reachable:
            raise Outage("the Kubernetes API cannot be reached")
        triggers = POLICIES.get((namespace, service))
        if triggers is None:
            return Problem("no-policy", "there is none")
        return PolicySpec.model_validate({"allowedTriggers": triggers})


@pytest.fixture
def policies() -> Known:
    return Known()


@pytest.fixture
def permissions(cluster: Cluster, policies: Known, seconds: Seconds) -> Permissions:
    return Permissions(cluster, policies, seconds)


def says(**status: Any) -> Any:
    return lambda _: Said({"kind": "SubjectAccessReview", "status": status}, 201)


async def test_the_kubernetes_api_is_asked_in_the_words_of_its_rbac(permissions: Permissions, api: Listener) -> None:
    api.answers[PATH] = says(allowed=True)
    for right in Right:
        assert await permissions.allows(ANN, right, "shop", "checkout")
    assert await permissions.allows(ANN, Right.FREEZE, None, None)
    first = api.asked[0][1]["spec"]
    assert first == {
        "user": "ann",
        "groups": ["dev"],
        "uid": "7",
        "extra": {"scopes": ["a", "b"]},
        "resourceAttributes": {"group": "rollout.dev", "resource": "releases", "verb": "create", "namespace": "shop"},
    }
    asked = {
        (one["resource"], one["verb"], one["namespace"])
        for one in (body["spec"]["resourceAttributes"] for _, body in api.asked)
    }
    assert asked == {
        *(("releases", verb, "shop") for verb in ("create", "get", "list", "abort", "pause", "resume", "promote")),
        ("releases", "approve", "shop"),
        ("freezes", "freeze", "shop"),
        ("freezes", "unfreeze", "shop"),
        ("servicepolicies", "update", "shop"),
        ("freezes", "freeze", ""),
    }


@pytest.mark.parametrize(
    "status", [{"allowed": False}, {}, {"allowed": "true"}, {"allowed": True, "denied": True}, {"allowed": 1}]
)
async def test_anything_but_a_plain_yes_is_a_no(status: JsonObject, permissions: Permissions, api: Listener) -> None:
    api.answers[PATH] = says(**status)
    assert not await permissions.allows(ANN, Right.CREATE, "shop", "checkout")


@pytest.mark.parametrize("answer", [Said({}, 503), Said({}, 403), Said({}, 422), Said({}, 201), Said([], 201)])
async def test_not_knowing_never_allows_anything(answer: Said, permissions: Permissions, api: Listener) -> None:
    api.answers[PATH] = lambda _: answer
    with pytest.raises(Outage):
        await permissions.allows(ANN, Right.CREATE, "shop", "checkout")


async def test_answers_hold_half_a_minute_for_this_person_right_and_place_alone(
    permissions: Permissions, api: Listener, seconds: Seconds
) -> None:
    api.answers[PATH] = says(allowed=True)
    for _ in range(3):
        assert await permissions.allows(ANN, Right.ABORT, "shop", "checkout")
    assert len(api.asked) == 1
    api.answers[PATH] = says(allowed=False)
    others = [
        (ANN, Right.ABORT, "pay"),
        (ANN, Right.ABORT, None),
        (ANN, Right.CREATE, "shop"),
        (Identity(name="ann"), Right.ABORT, "shop"),
        (Identity(name="ann", groups=("dev",), uid="7"), Right.ABORT, "shop"),
        (Identity(name="bob", groups=("dev",), uid="7", extra=ANN.extra), Right.ABORT, "shop"),
    ]
    for who, right, namespace in others:
        assert not await permissions.allows(who, right, namespace, "checkout")
    seconds.now += HOLDS
    assert not await permissions.allows(ANN, Right.ABORT, "shop", "checkout")


async def test_a_namespace_that_cannot_be_one_is_not_even_asked_about(permissions: Permissions, api: Listener) -> None:
    api.answers[PATH] = says(allowed=True)
    for namespace in ("", "Shop", "a/b", "*", "x" * 300):
        assert not await permissions.allows(ANN, Right.CREATE, namespace, "checkout")
    assert not api.asked


DEFAULT = {Right.CREATE, Right.GET, Right.LIST, Right.ABORT}
EXPECTED: dict[tuple[str | None, str | None], set[Right]] = {
    ("shop", "checkout"): DEFAULT,
    ("shop", "ledger"): {Right.GET, Right.LIST},
    ("pay", "checkout"): {*DEFAULT, Right.PAUSE, Right.RESUME, Right.PROMOTE, Right.APPROVE},
}
"""What `JOB` may do; nothing wherever nothing is said."""


@pytest.mark.parametrize("right", Right)
async def test_a_job_may_do_what_the_services_policy_says_and_nothing_else_anywhere(
    right: Right, permissions: Permissions, api: Listener
) -> None:
    # Whoever it is, the Kubernetes API would say yes: a job's name is none of its users.
    api.answers[PATH] = says(allowed=True)
    places = itertools.product(
        ("shop", "pay", "other", None), ("checkout", "ledger", "basket", "search", "closed", "none", None)
    )
    for namespace, service in places:
        allowed = await permissions.allows(JOB, right, namespace, service)
        assert allowed == (right in EXPECTED.get((namespace, service), set())), (namespace, service)
    assert not api.asked


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"repository_id": "4711"},
        {"repository_id": "4711", "environment": "Production"},
        {"repository_id": 4712, "environment": "production"},
        {"repository_id": ["4711"], "environment": "production"},
        {"repository": "4711", "environment": "production"},
    ],
)
async def test_a_job_whose_claims_differ_may_do_nothing(claims: dict[str, object], permissions: Permissions) -> None:
    job = Identity(name=JOB.name, issuer="github", claims=claims)
    for right in Right:
        assert not await permissions.allows(job, right, "pay", "checkout")


async def test_the_same_claims_from_another_issuer_count_for_nothing(permissions: Permissions) -> None:
    job = Identity(name=JOB.name, issuer="gitlab", claims=JOB.claims)
    for right in Right:
        assert not await permissions.allows(job, right, "shop", "checkout")


async def test_policies_that_cannot_be_read_allow_nothing(permissions: Permissions, policies: Known) -> None:
    policies.reachable = False
    with pytest.raises(Outage):
        await permissions.allows(JOB, Right.CREATE, "shop", "checkout")


async def test_many_questions_at_once_about_one_right_are_one(permissions: Permissions, api: Listener) -> None:
    api.answers[PATH] = says(allowed=True)
    asked = await asyncio.gather(*(permissions.allows(ANN, Right.GET, "shop", None) for _ in range(20)))
    assert all(asked)
    assert len(api.asked) == 1
