"""Series of requests that read: lists, pages, watches, discovery, and what is not there."""

from tests.contract.kubernetes.client import MERGE, TABLE, Api, config_map, virtual_service
from tests.contract.kubernetes.transcript import Recorder, exchange

_METADATA = "application/json;as=PartialObjectMetadata{};v=v1;g=meta.k8s.io"


@exchange
async def listing(api: Api, _: Recorder) -> None:
    labels: tuple[dict[str, str], ...] = ({"app": "x", "track": "stable"}, {"app": "x"}, {"app": "y"}, {})
    for number, each in enumerate(labels):
        await api.create("virtualservices", virtual_service(f"v{number}", labels=each))
    path = api.path("virtualservices")
    for query in (
        {"labelSelector": "app=x"},
        {"labelSelector": "app in (x,y),track"},
        {"labelSelector": "a=b=c"},
        {"labelSelector": "UPPER CASE"},
        {"fieldSelector": "metadata.name=v1"},
        {"fieldSelector": "spec.hosts=x"},
        {"fieldSelector": "x"},
        {"limit": "2"},
        {"limit": "2", "labelSelector": "app"},
        {"limit": "-1"},
        {"limit": "x"},
        {"limit": "1", "continue": "???"},
        {"resourceVersion": "0"},
        {"resourceVersion": "x"},
        {"resourceVersionMatch": "Exact"},
        {"timeoutSeconds": "x"},
    ):
        await api.http.get(path, params=query)
    for accept in (TABLE, _METADATA.format("List")):
        await api.http.get(path, headers={"accept": accept})
    for accept in (TABLE, _METADATA.format("")):
        await api.http.get(f"{path}/v1", headers={"accept": accept})
    await api.http.delete(path, params={"labelSelector": "app=x"})
    await api.http.get(path)


@exchange
async def paging(api: Api, _: Recorder) -> None:
    for number in range(5):
        await api.create("virtualservices", virtual_service(f"v{number}"))
    token = ""
    for _page in range(3):
        answer = await api.http.get(api.path("virtualservices"), params={"limit": "2", "continue": token})
        token = answer.json()["metadata"]["continue"] or token
    await api.http.get(api.path("virtualservices"), params={"continue": token, "resourceVersion": "1"})


@exchange
async def reading(api: Api, _: Recorder) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    path = api.path("virtualservices", "a")
    for version in ("0", created["metadata"]["resourceVersion"], "x"):
        await api.http.get(path, params={"resourceVersion": version})
    await api.http.head(path)
    for subresource in ("status", "scale", "nonsense"):
        await api.http.get(f"{path}/{subresource}")
    await api.http.delete(f"{path}/status")
    for nothing in (
        "/apis/networking.istio.io/v1/unheardof",
        "/apis/networking.istio.io/v1/namespaces/x/unheardof",
        "/apis/nobody.example/v1/things",
        "/apis/nobody.example",
        "/apis/rollout.dev/v9",
        "/apis/apps/v1/unheardof",
        "/api/v1/namespaces/x/unheardof",
        "/api/v2/pods",
        "/nothing",
    ):
        await api.http.get(nothing)
    await api.http.delete("/apis/networking.istio.io/v1/virtualservices")
    await api.http.post("/apis/networking.istio.io/v1/virtualservices", json=virtual_service("q"))
    await api.http.post("/api/v1/configmaps", json=config_map("q"))


@exchange
async def discovering(api: Api, _: Recorder) -> None:
    for path in ("rollout.dev", "rollout.dev/v1alpha1", "networking.istio.io", "coordination.k8s.io/v1"):
        await api.http.get(f"/apis/{path}")


@exchange
async def namespaces(api: Api, _: Recorder) -> None:
    path = f"/api/v1/namespaces/{api.namespace}"
    await api.http.post("/api/v1/namespaces", json={"metadata": {"name": "Bad_"}})
    await api.http.post("/api/v1/namespaces", json={"metadata": {"name": api.namespace}})
    await api.http.get(path)
    await api.http.patch(path, json={"metadata": {"labels": {"x": "y"}}}, headers={"content-type": MERGE})
    await api.http.get("/api/v1/namespaces/nowhere")


@exchange
async def watching(api: Api, recorder: Recorder) -> None:
    created = await api.create("virtualservices", virtual_service("a", 90))
    await api.patched("virtualservices", "a", {"metadata": {"labels": {"x": "y"}}})
    await api.patched("virtualservices", "a", {"spec": virtual_service("a", 10)["spec"]})
    await api.create("virtualservices", virtual_service("b", 90, labels={"x": "y"}))
    await api.patched("virtualservices", "b", {"metadata": {"labels": {"x": "z"}}})
    await api.http.delete(api.path("virtualservices", "a"))
    since = created["metadata"]["resourceVersion"]
    for count, query in (
        (5, {"resourceVersion": since}),
        (4, {"resourceVersion": since, "labelSelector": "x=y"}),
        (1, {"resourceVersion": since, "fieldSelector": "metadata.name=b"}),
        (1, {}),
        (1, {"resourceVersion": "0"}),
        # Older than anything that either server remembers of this kind.
        (1, {"resourceVersion": "1"}),
    ):
        async with api.watch(api.path("virtualservices"), **query) as watch:
            recorder.note([await watch.next_change() for _ in range(count)])
