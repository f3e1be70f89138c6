from tests.contract.kubernetes.client import Api, config_map, deployment, refused_as, revision, virtual_service, weights

_STATUS = {"conditions": [{"type": "Reconciled", "status": "True"}]}


async def test_the_object_itself_ignores_writes_of_its_status(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a"))
    await api.patched("virtualservices", "a", {"status": _STATUS}, subresource="status")
    patched = await api.patched("virtualservices", "a", {"status": None, "metadata": {"labels": {"x": "y"}}})
    assert patched["status"] == _STATUS
    assert patched["metadata"]["labels"] == {"x": "y"}


async def test_a_status_write_changes_the_status_and_nothing_else(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a", 90, annotations={"x": "1"}))
    body = {
        "status": _STATUS,
        "spec": virtual_service("a", 10)["spec"],
        "metadata": {"labels": {"x": "y"}, "annotations": {"x": "2"}},
    }
    patched = await api.patched("virtualservices", "a", body, subresource="status")
    assert patched["status"] == _STATUS
    assert weights(patched) == [90, 10]
    assert "labels" not in patched["metadata"]
    assert patched["metadata"]["annotations"] == {"x": "1"}
    assert patched["metadata"]["generation"] == 1
    assert revision(patched) > revision(created)


async def test_a_stale_status_write_is_refused_with_409(api: Api) -> None:
    stale = await api.create("virtualservices", virtual_service("a"))
    await api.patched("virtualservices", "a", {"metadata": {"labels": {"x": "y"}}})
    answer = await api.replace("virtualservices", {**stale, "status": _STATUS}, subresource="status")
    refused_as(answer, 409, "Conflict")
    assert not (await api.get("virtualservices", "a")).get("status")


async def test_a_status_can_be_replaced_and_read(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    answer = await api.replace("virtualservices", {**created, "status": _STATUS}, subresource="status")
    assert answer.status_code == 200
    read = await api.http.get(api.path("virtualservices", "a", subresource="status"))
    assert read.json() == answer.json()
    assert read.json()["status"] == _STATUS


async def test_a_status_write_makes_an_older_copy_of_the_object_stale(api: Api) -> None:
    stale = await api.create("virtualservices", virtual_service("a"))
    await api.patched("virtualservices", "a", {"status": _STATUS}, subresource="status")
    refused_as(await api.replace("virtualservices", stale), 409, "Conflict")


async def test_what_has_no_status_has_no_status_path(api: Api) -> None:
    await api.create("configmaps", config_map("a"))
    assert (await api.http.get(api.path("configmaps", "a", subresource="status"))).status_code == 404


async def test_a_deployment_is_read_and_scaled_through_its_scale(api: Api) -> None:
    await api.create("deployments", deployment("a", replicas=2))
    path = api.path("deployments", "a", subresource="scale")
    scale = (await api.http.get(path)).json()
    assert (scale["kind"], scale["apiVersion"], scale["spec"]["replicas"]) == ("Scale", "autoscaling/v1", 2)
    assert scale["status"]["selector"] == "app=a"
    # The real server's deployment controller writes the status meanwhile.
    for _ in range(20):
        scale = (await api.http.get(path)).json()
        scale["spec"]["replicas"] = 5
        if (answer := await api.http.put(path, json=scale)).status_code != 409:
            break
    assert answer.status_code == 200
    assert (await api.get("deployments", "a"))["spec"]["replicas"] == 5
    refused_as(await api.http.put(path, json=scale), 409, "Conflict")
    await api.patched("deployments", "a", {"spec": {"replicas": 0}}, subresource="scale")
    scaled = await api.get("deployments", "a")
    assert scaled["spec"]["replicas"] == 0
    assert scaled["metadata"]["generation"] == 3
