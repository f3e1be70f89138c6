import pytest

from tests.contract.kubernetes.client import (
    TABLE,
    Api,
    config_map,
    event,
    refused_as,
    revision,
    virtual_service,
)


async def _create_labelled(api: Api) -> None:
    for name, labels in {
        "a": {"app": "checkout", "track": "stable"},
        "b": {"app": "checkout", "track": "canary"},
        "c": {"app": "cart"},
        "d": {},
    }.items():
        await api.create("configmaps", config_map(name, labels=labels))


async def test_a_list_names_its_kind_and_moment(api: Api) -> None:
    created = [await api.create("virtualservices", virtual_service(name)) for name in ("b", "a")]
    found = (await api.http.get(api.path("virtualservices"))).json()
    assert (found["kind"], found["apiVersion"]) == ("VirtualServiceList", "networking.istio.io/v1")
    assert [item["metadata"]["name"] for item in found["items"]] == ["a", "b"]
    assert found["items"] == [created[1], created[0]]
    assert revision(found) >= max(map(revision, created))


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("app=checkout", "ab"),
        ("app==checkout,track=canary", "b"),
        ("app!=checkout", "cd"),
        ("track", "ab"),
        ("!track", "cd"),
        ("app in (checkout, cart)", "abc"),
        ("app notin (cart),app", "ab"),
        ("track notin (stable)", "bcd"),
        ("app=", ""),
        ("app=nobody", ""),
        ("", "abcd"),
    ],
)
async def test_a_label_selector_selects(api: Api, selector: str, names: str) -> None:
    await _create_labelled(api)
    found = await api.names("configmaps", labelSelector=selector)
    assert [name for name in found if len(name) == 1] == list(names)


@pytest.mark.parametrize("selector", ["app in checkout", "=x", "app=a b", "a=b=c", "app in (", "UPPER CASE"])
async def test_a_label_selector_nobody_understands_is_a_bad_request(api: Api, selector: str) -> None:
    answer = await api.http.get(api.path("configmaps"), params={"labelSelector": selector})
    refused_as(answer, 400, "BadRequest")


async def test_a_field_selector_selects_by_name(api: Api) -> None:
    await _create_labelled(api)
    assert await api.names("configmaps", fieldSelector="metadata.name=b") == ["b"]
    others = await api.names("configmaps", fieldSelector="metadata.name!=b")
    assert [name for name in others if len(name) == 1] == ["a", "c", "d"]
    assert await api.names("configmaps", fieldSelector="metadata.namespace=elsewhere") == []


async def test_a_field_nobody_can_select_by_is_a_bad_request(api: Api) -> None:
    answer = await api.http.get(api.path("virtualservices"), params={"fieldSelector": "spec.hosts=x"})
    refused_as(answer, 400, "BadRequest")


async def test_events_are_found_by_what_they_are_about(api: Api) -> None:
    for name, subject in (("a", "one"), ("b", "two")):
        await api.create("events", event(name, api.namespace, subject))
    selector = "involvedObject.kind=ConfigMap,involvedObject.name=two"
    assert await api.names("events", fieldSelector=selector) == ["b"]


async def test_pages_show_every_object_once_as_of_the_first_page(api: Api) -> None:
    for number in range(7):
        await api.create("virtualservices", virtual_service(f"vs-{number}"))
    names, token, moments = [], "", set()
    for _ in range(10):
        query = {"limit": "3", "continue": token}
        page = (await api.http.get(api.path("virtualservices"), params=query)).json()
        names += [item["metadata"]["name"] for item in page["items"]]
        moments.add(page["metadata"]["resourceVersion"])
        token = page["metadata"].get("continue", "")
        if not token:
            break
        assert page["metadata"]["remainingItemCount"] == 7 - len(names)
        await api.create("virtualservices", virtual_service(f"vs-9{len(names)}"))
    assert names == [f"vs-{number}" for number in range(7)]
    assert len(moments) == 1


async def test_a_continue_token_nobody_gave_out_is_a_bad_request(api: Api) -> None:
    answer = await api.http.get(api.path("configmaps"), params={"limit": "1", "continue": "???"})
    refused_as(answer, 400, "BadRequest")


async def test_a_list_of_all_namespaces_includes_ours(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a"))
    found = (await api.http.get("/apis/networking.istio.io/v1/virtualservices")).json()["items"]
    assert (api.namespace, "a") in {(o["metadata"]["namespace"], o["metadata"]["name"]) for o in found}


async def test_a_collection_is_deleted_by_selector(api: Api) -> None:
    await _create_labelled(api)
    answer = await api.http.delete(api.path("configmaps"), params={"labelSelector": "app=checkout"})
    assert answer.status_code == 200
    assert [name for name in await api.names("configmaps") if len(name) == 1] == ["c", "d"]


async def test_kubectl_gets_a_table(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a"))
    answer = await api.http.get(api.path("virtualservices"), headers={"accept": TABLE})
    found = answer.json()
    assert (found["kind"], found["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    columns = [column["name"] for column in found["columnDefinitions"]]
    assert columns == ["Name", "Gateways", "Hosts", "Age"]
    (row,) = found["rows"]
    assert row["cells"][:3] == ["a", None, '["checkout"]']
    assert row["object"]["metadata"]["name"] == "a"
