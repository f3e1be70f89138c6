import pytest

from tests.contract.kubernetes.client import Api, event, refused_as, virtual_service, weights

_ISTIO = "/apis/networking.istio.io"


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v1alpha3"])
async def test_one_object_is_served_under_every_version(api: Api, version: str) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    path = api.path("virtualservices", "a", place=f"{_ISTIO}/{version}")
    found = (await api.http.get(path)).json()
    assert found["apiVersion"] == f"networking.istio.io/{version}"
    assert found["spec"] == created["spec"]
    assert found["metadata"]["resourceVersion"] == created["metadata"]["resourceVersion"]


async def test_an_object_written_under_an_old_version_is_the_same_object(api: Api) -> None:
    place = f"{_ISTIO}/v1alpha3"
    body = {**virtual_service("a", 90), "apiVersion": "networking.istio.io/v1alpha3"}
    answer = await api.http.post(api.path("virtualservices", place=place), json=body)
    assert answer.status_code == 201
    assert answer.json()["apiVersion"] == "networking.istio.io/v1alpha3"
    changed = {**answer.json(), "spec": virtual_service("a", 40)["spec"]}
    path = api.path("virtualservices", "a", place=place)
    assert (await api.http.put(path, json=changed)).status_code == 200
    found = await api.get("virtualservices", "a")
    assert (found["apiVersion"], weights(found)) == ("networking.istio.io/v1", [40, 60])
    refused_as(await api.http.put(path, json={**found, "metadata": {"name": "a"}}), 400, "BadRequest")


async def test_a_watch_speaks_the_version_it_was_asked_in(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    path = api.path("virtualservices", place=f"{_ISTIO}/v1beta1")
    async with api.watch(path) as watch:
        found = (await watch.next_change())["object"]
    assert found["apiVersion"] == "networking.istio.io/v1beta1"
    assert found["metadata"]["uid"] == created["metadata"]["uid"]


async def test_an_event_has_two_faces(api: Api) -> None:
    await api.create("events", event("a", api.namespace, "subject"))
    path = api.path("events", "a", place="/apis/events.k8s.io/v1")
    found = (await api.http.get(path)).json()
    assert found["apiVersion"] == "events.k8s.io/v1"
    assert found["regarding"]["name"] == "subject"
    assert found["note"] == "30 percent"
    assert "involvedObject" not in found
    assert "message" not in found


async def test_an_event_of_the_new_kind_is_found_by_the_old_selector(api: Api) -> None:
    body = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "a"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "rollout.dev/controller",
        "reportingInstance": "rollout-0",
        "action": "Shift",
        "reason": "Shifted",
        "type": "Normal",
        "regarding": {"kind": "ConfigMap", "namespace": api.namespace, "name": "subject", "apiVersion": "v1"},
        "note": "50 percent",
    }
    answer = await api.http.post(api.path("events", place="/apis/events.k8s.io/v1"), json=body)
    assert answer.status_code == 201, answer.text
    assert await api.names("events", fieldSelector="involvedObject.name=subject") == ["a"]
    found = await api.get("events", "a")
    assert (found["message"], found["reportingComponent"]) == ("50 percent", "rollout.dev/controller")
