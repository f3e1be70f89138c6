"""What RBAC says to the controller's ServiceAccount: yes to each request that it makes, no to all that is worse."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from tests.deploy.cluster import Cluster, question, until

Attributes = Mapping[str, str]
Right = tuple[str, str, str]
"""API group, resource, verb."""

NEEDED = {
    ("networking.istio.io", "virtualservices"): ("get", "list", "watch", "patch"),
    ("networking.istio.io", "destinationrules"): ("get", "list", "watch", "patch"),
    ("telemetry.istio.io", "telemetries"): ("list",),
    ("gateway.networking.k8s.io", "httproutes"): ("list",),
    ("gateway.networking.k8s.io", "grpcroutes"): ("list",),
    ("apps", "deployments"): ("get", "list", "watch"),
    ("", "services"): ("get",),
    ("", "pods"): ("list",),
    ("rollout.dev", "releases"): ("get", "list", "watch", "patch"),
    ("rollout.dev", "releases/status"): ("update",),
    ("rollout.dev", "servicepolicies"): ("get",),
    ("rollout.dev", "freezes"): ("list", "watch"),
    ("events.k8s.io", "events"): ("create",),
}
LEASES = "coordination.k8s.io", "leases"
# What would let it read secrets, run something, give itself rights, switch the guards off, or hide what it did.
DANGEROUS = {
    ("", "secrets"): ("get", "list", "watch", "create"),
    ("", "configmaps"): ("get", "update"),
    ("", "serviceaccounts"): ("create", "impersonate"),
    ("", "serviceaccounts/token"): ("create",),
    ("", "users"): ("impersonate",),
    ("", "namespaces"): ("delete", "patch"),
    ("", "nodes/proxy"): ("get", "create"),
    ("", "pods"): ("create", "delete", "patch"),
    ("", "pods/exec"): ("create",),
    ("", "pods/ephemeralcontainers"): ("patch",),
    ("", "pods/eviction"): ("create",),
    ("", "services"): ("list", "create", "patch", "delete"),
    ("", "events"): ("delete", "create"),
    ("apps", "deployments"): ("create", "update", "patch", "delete"),
    ("apps", "deployments/scale"): ("patch", "update"),
    ("apps", "daemonsets"): ("create",),
    ("batch", "jobs"): ("create",),
    ("rbac.authorization.k8s.io", "roles"): ("create", "bind", "escalate", "patch"),
    ("rbac.authorization.k8s.io", "rolebindings"): ("create", "patch"),
    ("rbac.authorization.k8s.io", "clusterroles"): ("bind", "escalate"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): ("create",),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): ("patch", "delete"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"): ("patch", "delete"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): ("create",),
    ("apiextensions.k8s.io", "customresourcedefinitions"): ("patch", "delete"),
    ("networking.k8s.io", "networkpolicies"): ("patch", "delete"),
    ("networking.istio.io", "virtualservices"): ("create", "update", "delete", "deletecollection"),
    ("networking.istio.io", "destinationrules"): ("create", "update", "delete", "deletecollection"),
    ("networking.istio.io", "envoyfilters"): ("create", "patch"),
    ("networking.istio.io", "gateways"): ("patch",),
    ("security.istio.io", "authorizationpolicies"): ("patch", "delete"),
    ("telemetry.istio.io", "telemetries"): ("patch",),
    ("rollout.dev", "releases"): ("create", "update", "delete"),
    ("rollout.dev", "servicepolicies"): ("patch", "create"),
    ("rollout.dev", "freezes"): ("create", "update", "patch", "delete"),
    ("certificates.k8s.io", "certificatesigningrequests"): ("create",),
    ("*", "*"): ("get", "*"),
}


def asked(about: Mapping[tuple[str, str], tuple[str, ...]], namespace: str) -> list[Attributes]:
    """A question for each verb."""
    return [question(*which, verb, namespace) for which, verbs in about.items() for verb in verbs]


def leases(namespace: str, name: str) -> list[Attributes]:
    """What a controller does to its Lease."""
    verbs = ("get", "watch", "update")
    return [*(question(*LEASES, verb, namespace, name) for verb in verbs), question(*LEASES, "create", namespace)]


async def not_so(cluster: Cluster, questions: list[Attributes], *, allowed: bool) -> list[Attributes]:
    """Those to which the answer is another one."""
    said = await cluster.allowed(questions)
    return [one for one, answer in zip(questions, said, strict=True) if answer is not allowed]


async def granted(cluster: Cluster, namespace: str) -> set[Right]:
    """All that it may do in a namespace, but for what every account may: ask what it may do."""
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    async with cluster.plane.client(await cluster.token()) as http:
        answer = await http.post(path, json={"spec": {"namespace": namespace}})
    assert answer.status_code == 201, answer.text
    status = answer.json()["status"]
    assert not status["incomplete"]
    return {right for rule in status["resourceRules"] for right in _rights(rule) if "selfsubject" not in right[1]}


def _rights(rule: Mapping[str, list[str]]) -> Iterator[Right]:
    for group in rule["apiGroups"]:
        for resource in rule["resources"]:
            for verb in rule["verbs"]:
                yield group, resource, verb


EVERYTHING = {(*which, verb) for which, verbs in NEEDED.items() for verb in verbs}
ITS_LEASE = {(*LEASES, verb) for verb in ("create", "get", "watch", "update")}
SEEN_BY_ALL = {("rollout.dev", "freezes", verb) for verb in ("get", "list", "watch")}
"""In the controller's namespace, where a freeze of everything is."""


async def test_cluster_wide_it_may_do_what_it_does_everywhere(cluster_wide: Cluster) -> None:
    assert not await not_so(cluster_wide, [*asked(NEEDED, ""), *asked(NEEDED, "shop")], allowed=True)
    assert await granted(cluster_wide, "pay") == EVERYTHING


async def test_cluster_wide_it_may_do_nothing_that_is_dangerous(cluster_wide: Cluster) -> None:
    questions = [*asked(DANGEROUS, ""), *asked(DANGEROUS, "shop"), *asked(DANGEROUS, "rollout")]
    assert not await not_so(cluster_wide, questions, allowed=False)


async def test_in_its_own_namespace_it_may_do_no_more_than_renew_its_lease(cluster_wide: Cluster) -> None:
    assert await granted(cluster_wide, "rollout") == EVERYTHING | ITS_LEASE | SEEN_BY_ALL


async def test_the_lease_of_the_cluster_is_its_own_and_no_other(cluster_wide: Cluster) -> None:
    assert not await not_so(cluster_wide, leases("rollout", "rollout"), allowed=True)
    others = leases("rollout", "other")[:-1]
    delete = question(*LEASES, "delete", "rollout", "rollout")
    elsewhere = leases("kube-system", "kube-scheduler")
    assert not await not_so(cluster_wide, [*others, delete, *elsewhere], allowed=False)


async def test_it_watches_its_lease_by_name_and_no_other(cluster_wide: Cluster) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/rollout/leases"
    codes = {}
    async with cluster_wide.plane.client(await cluster_wide.token()) as http:
        for selector in ("metadata.name=rollout", "metadata.name=other", ""):
            params = {"watch": "1", "timeoutSeconds": "1", "fieldSelector": selector}
            codes[selector] = (await http.get(path, params=params)).status_code
    assert codes == {"metadata.name=rollout": 200, "metadata.name=other": 403, "": 403}


async def test_namespaced_it_may_do_what_it_does_there_and_nothing_elsewhere(namespaced: Cluster) -> None:
    assert not await not_so(namespaced, [*asked(NEEDED, "shop"), *leases("rollout", "rollout-shop")], allowed=True)
    assert await granted(namespaced, "shop") == EVERYTHING
    assert await granted(namespaced, "rollout") == ITS_LEASE | SEEN_BY_ALL
    assert await granted(namespaced, "pay") == set()
    assert not await not_so(namespaced, [*asked(NEEDED, ""), *leases("rollout", "rollout")[:-1]], allowed=False)


async def test_namespaced_it_may_do_nothing_that_is_dangerous(namespaced: Cluster) -> None:
    assert not await not_so(namespaced, [*asked(DANGEROUS, "shop"), *asked(DANGEROUS, "")], allowed=False)


async def test_namespaced_it_sees_the_telemetry_of_the_whole_mesh_and_nothing_else_there(namespaced: Cluster) -> None:
    assert await granted(namespaced, "istio-system") == {("telemetry.istio.io", "telemetries", "list")}


async def _answered(cluster: Cluster, questions: Sequence[Attributes], person: str, expected: list[bool]) -> bool:
    """A controller of Kubernetes adds our roles to those of the cluster, in its own time."""
    return await cluster.allowed(questions, user=person) == expected


async def test_people_who_may_edit_a_namespace_may_release_in_it_and_viewers_may_look(cluster_wide: Cluster) -> None:
    for role, person in (("edit", "eve"), ("view", "vic")):
        name = f"{role}-of-shop"
        cluster_wide.kubectl(
            "create", "rolebinding", name, f"--clusterrole={role}", f"--user={person}", "--namespace=shop"
        )
    verbs = ("get", "list", "watch", "create", "patch", "update", "delete")
    for resource in ("releases", "servicepolicies", "freezes"):
        questions = [question("rollout.dev", resource, verb, "shop") for verb in verbs]
        questions.append(question("rollout.dev", f"{resource}/status", "update", "shop"))
        for person, last in (("eve", verbs.index("delete")), ("vic", verbs.index("watch"))):
            expected = [place <= last for place in range(len(questions))]
            await until(partial(_answered, cluster_wide, questions, person, expected))
    elsewhere = [
        question("rollout.dev", "releases", "patch", "pay"),
        *(question("rollout.dev", "freezes", "create", where) for where in ("pay", "rollout", "")),
    ]
    assert not any(await cluster_wide.allowed(elsewhere, user="eve"))


async def test_people_who_may_edit_a_namespace_may_ask_the_http_api_for_every_wish_in_it_and_viewers_for_none(
    cluster_wide: Cluster,
) -> None:
    asked = {"releases": ("abort", "pause", "resume", "promote", "approve"), "freezes": ("freeze", "unfreeze")}
    for role, person in (("edit", "ed"), ("view", "vera")):
        binding = ("rolebinding", f"{person}-of-shop", f"--clusterrole={role}", f"--user={person}", "--namespace=shop")
        cluster_wide.kubectl("create", *binding)
    here, there = (
        [question("rollout.dev", resource, verb, where) for resource, verbs in asked.items() for verb in verbs]
        for where in ("shop", "pay")
    )
    await until(partial(_answered, cluster_wide, here, "ed", [True] * len(here)))
    assert not any(await cluster_wide.allowed(here, user="vera"))
    assert not any(await cluster_wide.allowed(there, user="ed"))


async def test_a_freeze_of_everything_is_seen_by_everybody_and_set_by_nobody_without_rights_there(
    cluster_wide: Cluster,
) -> None:
    seen = [question("rollout.dev", "freezes", verb, "rollout") for verb in ("get", "list", "watch")]
    written = [
        question("rollout.dev", "freezes", verb, "rollout")
        for verb in ("create", "patch", "update", "delete", "freeze")
    ]
    assert all(await cluster_wide.allowed(seen, user="nobody-in-particular"))
    assert not any(await cluster_wide.allowed(written, user="nobody-in-particular"))
