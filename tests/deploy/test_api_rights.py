"""What RBAC says to the HTTP API's ServiceAccount, and what the API says to everybody by it: verb, role, namespace."""

import itertools
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rollout.adapters.authentication import Authentication
from rollout.adapters.clock import SystemClock
from rollout.adapters.cluster import Cluster as Connection
from rollout.adapters.permissions import Permissions
from rollout.adapters.policy_objects import PolicyObjects
from rollout.adapters.token_reviews import TokenReviews
from rollout.core.access import Identity, Right
from rollout.ports import Outage, Unauthenticated
from tests.deploy.cluster import API, CONTROLLER, Cluster, create, question, until

About = Mapping[tuple[str, str], tuple[str, ...]]
"""(API group, resource) -> verbs."""

NEEDED = {
    ("rollout.dev", "releases"): ("get", "list", "watch", "create", "patch"),
    ("rollout.dev", "freezes"): ("get", "list", "watch", "create", "update", "patch", "delete"),
    ("rollout.dev", "servicepolicies"): ("get", "list"),
}
REVIEWS = {
    ("authentication.k8s.io", "tokenreviews"): ("create",),
    ("authorization.k8s.io", "subjectaccessreviews"): ("create",),
}
AT_HOME = {("coordination.k8s.io", "leases"): ("create", "get", "list", "delete")}
DANGEROUS = {
    ("", "secrets"): ("get", "list", "watch", "create"),
    ("", "configmaps"): ("get", "list", "update"),
    ("", "serviceaccounts"): ("create", "impersonate"),
    ("", "serviceaccounts/token"): ("create",),
    ("", "users"): ("impersonate",),
    ("", "groups"): ("impersonate",),
    ("", "pods"): ("get", "list", "create", "delete"),
    ("", "pods/exec"): ("create",),
    ("", "namespaces"): ("delete", "patch"),
    ("apps", "deployments"): ("get", "list", "create", "patch", "delete"),
    ("batch", "jobs"): ("create",),
    ("networking.istio.io", "virtualservices"): ("get", "list", "watch", "create", "update", "patch", "delete"),
    ("networking.istio.io", "destinationrules"): ("get", "list", "watch", "create", "update", "patch", "delete"),
    ("rollout.dev", "releases"): ("update", "delete", "deletecollection"),
    ("rollout.dev", "releases/status"): ("get", "update", "patch"),
    ("rollout.dev", "releases/finalizers"): ("update",),
    ("rollout.dev", "servicepolicies"): ("create", "update", "patch", "delete"),
    ("rbac.authorization.k8s.io", "roles"): ("create", "bind", "escalate", "patch"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): ("create",),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): ("patch", "delete"),
    ("coordination.k8s.io", "leases"): ("update", "patch", "deletecollection"),
    ("authentication.k8s.io", "tokenreviews"): ("get", "list"),
    ("*", "*"): ("get", "*"),
}

# What people and CI's accounts have in `shop`, and nowhere else: rights of the API by the role that is bound.
PEOPLE = {Right(verb) for verb in ("create", "get", "list", "abort", "pause", "resume", "promote", "approve")}
ROLES: dict[str, set[Right]] = {
    "view": {Right.GET, Right.LIST},
    "edit": {*PEOPLE, Right.FREEZE, Right.UNFREEZE, Right.WRITE_POLICY},
    "admin": {*PEOPLE, Right.FREEZE, Right.UNFREEZE, Right.WRITE_POLICY},
    "only-abort": {Right.ABORT},
    "only-start": {Right.CREATE, Right.GET},
    "nobody": set(),
}
RULES: dict[str, list[str]] = {"only-abort": ["abort"], "only-start": ["create", "get"]}


def asked(about: About, namespace: str) -> list[dict[str, str]]:
    return [question(*which, verb, namespace) for which, verbs in about.items() for verb in verbs]


async def not_so(cluster: Cluster, questions: list[dict[str, str]], *, allowed: bool) -> list[dict[str, str]]:
    """Those to which the API's account is given another answer."""
    said = await cluster.allowed(questions, user=API)
    return [one for one, answer in zip(questions, said, strict=True) if answer is not allowed]


async def granted(cluster: Cluster, namespace: str) -> set[tuple[str, str, str]]:
    """All that the API's account may do in a namespace, but for what every account may."""
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    async with cluster.plane.client(await cluster.token("rollout-api")) as http:
        answer = await http.post(path, json={"spec": {"namespace": namespace}})
    assert answer.status_code == 201, answer.text
    return {
        (group, resource, verb)
        for rule in answer.json()["status"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if "selfsubject" not in resource
    }


def rights(*about: About) -> set[tuple[str, str, str]]:
    return {(*which, verb) for one in about for which, verbs in one.items() for verb in verbs}


@pytest.fixture
async def installed(cluster: Cluster) -> Cluster:
    """The API, for the whole cluster."""
    await cluster.install("api")
    questions = asked(NEEDED, "") + asked(REVIEWS, "") + asked(AT_HOME, "rollout")

    async def in_force() -> bool:
        return not await not_so(cluster, questions, allowed=True)

    await until(in_force)
    return cluster


async def test_the_api_may_do_what_it_does_and_nothing_else(installed: Cluster) -> None:
    assert await granted(installed, "shop") == rights(NEEDED, REVIEWS)
    assert await granted(installed, "rollout") == rights(NEEDED, REVIEWS, AT_HOME) | {
        ("rollout.dev", "freezes", verb) for verb in ("get", "list", "watch")
    }


async def test_the_api_may_do_nothing_that_is_dangerous(installed: Cluster) -> None:
    questions = [one for namespace in ("", "shop", "rollout", "kube-system") for one in asked(DANGEROUS, namespace)]
    questions += asked(AT_HOME, "kube-system") + asked(AT_HOME, "shop")
    assert not await not_so(installed, questions, allowed=False)


async def test_the_controller_may_not_do_what_the_api_does(installed: Cluster) -> None:
    questions = [
        *asked(REVIEWS, ""),
        *(question("rollout.dev", "freezes", verb, "shop") for verb in ("create", "update", "patch", "delete")),
        *(question("rollout.dev", "releases", verb, "shop") for verb in ("create", "update", "delete")),
    ]
    assert not any(await installed.allowed(questions, user=CONTROLLER))


async def connected(cluster: Cluster, folder: Path) -> Connection:
    """As the API's pod is."""
    path = folder / "kubeconfig"
    cluster.plane.write_kubeconfig(path, "rollout", await cluster.token("rollout-api"))
    return await Connection.connect(path)


@pytest.fixture
async def api(installed: Cluster, tmp_path: Path) -> AsyncIterator[Connection]:
    async with await connected(installed, tmp_path) as connection:
        yield connection


async def made(cluster: Cluster, path: str, obj: dict[str, Any]) -> None:
    async with cluster.plane.client() as http:
        if (await http.get(f"{path}/{obj['metadata']['name']}")).status_code == 404:
            await create(http, path, obj)


async def account(cluster: Cluster, role: str) -> None:
    """A ServiceAccount in `shop` that is called after its role there."""
    kind = "Role" if role in RULES else "ClusterRole"
    await made(cluster, "/api/v1/namespaces/shop/serviceaccounts", {"metadata": {"name": role}})
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop"
    if role in RULES:
        rule = {"apiGroups": ["rollout.dev"], "resources": ["releases"], "verbs": RULES[role]}
        await made(cluster, f"{rbac}/roles", {"metadata": {"name": role}, "rules": [rule]})
    if role != "nobody":
        subject = {"kind": "ServiceAccount", "name": role, "namespace": "shop"}
        ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
        binding = {"metadata": {"name": f"api-{role}"}, "roleRef": ref, "subjects": [subject]}
        await made(cluster, f"{rbac}/rolebindings", binding)


@pytest.mark.parametrize("role", ROLES)
async def test_every_right_of_every_role_in_every_namespace(role: str, installed: Cluster, api: Connection) -> None:
    await account(installed, role)
    who = await Authentication(TokenReviews(api, "rollout", SystemClock())).identify(
        await installed.token(role, "shop", "rollout")
    )
    assert who.name == f"system:serviceaccount:shop:{role}"
    expected = {
        (right, namespace): namespace == "shop" and right in ROLES[role]
        for right, namespace in itertools.product(Right, ("shop", "pay", "rollout", "kube-system", None))
    }

    async def answers() -> dict[tuple[Right, str | None], bool]:
        permissions = Permissions(api, PolicyObjects(api))
        return {
            (right, namespace): await permissions.allows(who, right, namespace, "checkout")
            for right, namespace in expected
        }

    async def in_force() -> bool:
        # Aggregated roles come into force in Kubernetes' own time.
        return await answers() == expected

    await until(in_force)


@pytest.mark.parametrize("audience", ["", "vault", "https://kubernetes.default.svc.cluster.local"])
async def test_a_genuine_token_for_another_audience_is_refused(
    audience: str, installed: Cluster, api: Connection
) -> None:
    await account(installed, "edit")
    reviews = TokenReviews(api, "rollout", SystemClock())
    with pytest.raises(Unauthenticated):
        await Authentication(reviews).identify(await installed.token("edit", "shop", audience))
    # The server itself says so too, whatever was looked at before.
    with pytest.raises(Unauthenticated):
        await reviews.identify(await installed.token("edit", "shop", audience), None)


async def test_a_token_of_an_account_that_is_gone_or_that_was_changed_is_refused(
    installed: Cluster, api: Connection
) -> None:
    await made(installed, "/api/v1/namespaces/shop/serviceaccounts", {"metadata": {"name": "gone"}})
    token = await installed.token("gone", "shop", "rollout")
    head, claims, signature = token.split(".")
    forged = f"{head}.{claims}.{signature[:-6]}AAAAAA"
    with pytest.raises(Unauthenticated):
        await Authentication(TokenReviews(api, "rollout", SystemClock())).identify(forged)
    installed.kubectl("delete", "serviceaccount", "gone", "--namespace=shop")

    async def refused() -> bool:
        try:
            await TokenReviews(api, "rollout", SystemClock()).identify(token, None)
        except Unauthenticated:
            return True
        return False

    await until(refused)


async def test_an_api_whose_own_rights_are_missing_lets_nobody_in(installed: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    await account(installed, "edit")
    # As one who may not ask.
    installed.plane.write_kubeconfig(path, "shop", await installed.token("edit", "shop"))
    async with await Connection.connect(path) as stranger:
        with pytest.raises(Outage):
            await TokenReviews(stranger, "rollout", SystemClock()).identify("token", None)
        with pytest.raises(Outage):
            await Permissions(stranger, PolicyObjects(stranger)).allows(
                Identity(name="ann"), Right.GET, "shop", "checkout"
            )


async def test_in_one_namespace_the_api_may_do_nothing_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    # As docs/install.md has it; kustomize reads nothing above itself but folders, by relative paths.
    from ruamel.yaml import YAML  # noqa: PLC0415 - only here

    from tests.deploy.cluster import ROOT  # noqa: PLC0415 - only here

    deploy = Path("../" * len(tmp_path.parts)) / ROOT.relative_to("/") / "deploy"
    documents: dict[str, dict[str, Any]] = {
        "shop-api": {
            "kind": "Kustomization",
            "namespace": "shop",
            "resources": [str(".." / deploy / "api-rights")],
            "components": [str(".." / deploy / "components/one-namespace")],
        },
        "overlay": {
            "kind": "Kustomization",
            "resources": [str(".." / deploy / "overlays/namespaced"), "../shop-api"],
            "components": [str(".." / deploy / "components/api")],
            "patches": [
                {
                    "target": {"kind": "Deployment", "name": "rollout-api"},
                    "patch": "- {op: add, path: /spec/template/spec/containers/0/args/-, value: --namespace=shop}",
                }
            ],
        },
    }
    for name, document in documents.items():
        (tmp_path / name).mkdir()
        with (tmp_path / name / "kustomization.yaml").open("w", encoding="utf-8") as file:
            YAML().dump({"apiVersion": "kustomize.config.k8s.io/v1beta1", **document}, file)
    cluster.kubectl("delete", "clusterrolebinding", "--ignore-not-found", "rollout-api", "rollout-controller")
    cluster.installed = ""
    assert not cluster.apply(tmp_path / "overlay")
    everywhere = asked(NEEDED, "") + asked(NEEDED, "pay")
    here = asked(NEEDED, "shop") + asked(REVIEWS, "") + asked(AT_HOME, "rollout")

    async def in_force(questions: list[dict[str, str]], *, allowed: bool) -> bool:
        return not await not_so(cluster, questions, allowed=allowed)

    try:
        await until(partial(in_force, everywhere, allowed=False))
        await until(partial(in_force, here, allowed=True))
    finally:
        cluster.kubectl("delete", "rolebinding", "--namespace=shop", "rollout-api")
