import pytest

from tests.contract.kubernetes.client import TABLE, Api, config_map, revision, virtual_service, weights


async def _moment(api: Api, plural: str = "virtualservices") -> str:
    found = (await api.http.get(api.path(plural))).json()
    text: str = found["metadata"]["resourceVersion"]
    return text


async def test_a_watch_tells_every_change_in_order(api: Api) -> None:
    since = await _moment(api)
    async with api.watch(api.path("virtualservices"), resourceVersion=since) as watch:
        await api.create("virtualservices", virtual_service("a", 90))
        await api.patched("virtualservices", "a", {"spec": virtual_service("a", 50)["spec"]})
        await api.http.delete(api.path("virtualservices", "a"))
        events = [await watch.next_change() for _ in range(3)]
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert [weights(event["object"])[0] for event in events] == [90, 50, 50]
    revisions = [revision(event["object"]) for event in events]
    assert revisions == sorted(set(revisions))
    assert all(event["object"]["kind"] == "VirtualService" for event in events)


async def test_a_watch_replays_what_happened_since(api: Api) -> None:
    first = await api.create("virtualservices", virtual_service("a"))
    await api.create("virtualservices", virtual_service("b"))
    await api.patched("virtualservices", "a", {"metadata": {"labels": {"x": "y"}}})
    since = first["metadata"]["resourceVersion"]
    async with api.watch(api.path("virtualservices"), resourceVersion=since) as watch:
        events = [await watch.next_change() for _ in range(2)]
    seen = [(event["type"], event["object"]["metadata"]["name"]) for event in events]
    assert seen == [("ADDED", "b"), ("MODIFIED", "a")]


@pytest.mark.parametrize("since", [{}, {"resourceVersion": "0"}])
async def test_a_watch_from_nowhere_starts_with_what_is_there(api: Api, since: dict[str, str]) -> None:
    for name in ("a", "b"):
        await api.create("virtualservices", virtual_service(name))
    await api.patched("virtualservices", "a", {"metadata": {"labels": {"x": "y"}}})
    async with api.watch(api.path("virtualservices"), **since) as watch:
        events = [await watch.next_change() for _ in range(2)]
        assert {(event["type"], event["object"]["metadata"]["name"]) for event in events} == {
            ("ADDED", "a"),
            ("ADDED", "b"),
        }
        await api.create("virtualservices", virtual_service("c"))
        assert (await watch.next_change())["object"]["metadata"]["name"] == "c"


async def test_an_object_that_leaves_the_selector_is_deleted_for_the_watch(api: Api) -> None:
    since = await _moment(api, "configmaps")
    query = {"resourceVersion": since, "labelSelector": "track=canary"}
    async with api.watch(api.path("configmaps"), **query) as watch:
        await api.create("configmaps", config_map("a"))
        await api.patched("configmaps", "a", {"metadata": {"labels": {"track": "canary"}}})
        await api.patched("configmaps", "a", {"data": {"x": "1"}})
        left = await api.patched("configmaps", "a", {"metadata": {"labels": {"track": "stable"}}})
        await api.patched("configmaps", "a", {"data": {"x": "2"}})
        await api.patched("configmaps", "a", {"metadata": {"labels": {"track": "canary"}}})
        events = [await watch.next_change() for _ in range(4)]
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED"]
    assert revision(events[2]["object"]) == revision(left)
    assert events[2]["object"]["metadata"]["labels"] == {"track": "canary"}


async def test_a_watch_by_name_sees_one_object(api: Api) -> None:
    since = await _moment(api)
    query = {"resourceVersion": since, "fieldSelector": "metadata.name=b"}
    async with api.watch(api.path("virtualservices"), **query) as watch:
        for name in ("a", "b"):
            await api.create("virtualservices", virtual_service(name))
        assert (await watch.next_change())["object"]["metadata"]["name"] == "b"


async def test_a_watch_of_a_namespace_does_not_see_others(api: Api) -> None:
    since = await _moment(api, "configmaps")
    async with api.watch(api.path("configmaps"), resourceVersion=since) as watch:
        other = await api.http.post("/api/v1/namespaces/default/configmaps", json=config_map(api.namespace))
        assert other.status_code == 201
        await api.create("configmaps", config_map("ours"))
        assert (await watch.next_change())["object"]["metadata"]["name"] == "ours"
    await api.http.delete(f"/api/v1/namespaces/default/configmaps/{api.namespace}")


async def test_a_watch_ends_when_its_time_is_up(api: Api) -> None:
    since = await _moment(api)
    query = {"resourceVersion": since, "timeoutSeconds": "1"}
    async with api.watch(api.path("virtualservices"), **query) as watch:
        assert await watch.rest() == []


async def test_bookmarks_carry_a_moment_to_continue_from(api: Api) -> None:
    since = await _moment(api)
    query = {"allowWatchBookmarks": "true", "timeoutSeconds": "3", "resourceVersion": since}
    async with api.watch(api.path("virtualservices"), **query) as watch:
        created = await api.create("virtualservices", virtual_service("a"))
        events = await watch.rest()
    assert events[0]["type"] == "ADDED"
    bookmarks = [event["object"] for event in events if event["type"] == "BOOKMARK"]
    assert bookmarks
    assert bookmarks[-1]["kind"] == "VirtualService"
    assert revision(bookmarks[-1]) >= revision(created)
    later = bookmarks[-1]["metadata"]["resourceVersion"]
    async with api.watch(api.path("virtualservices"), resourceVersion=later) as watch:
        await api.create("virtualservices", virtual_service("b"))
        assert (await watch.next_change())["object"]["metadata"]["name"] == "b"


async def test_a_watch_from_forgotten_times_is_told_to_list_again(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a"))
    path = api.path("virtualservices")
    # Revision 1 is older than the first of this kind, on every server.
    async with api.watch(path, resourceVersion="1") as watch:
        (event,) = await watch.rest()
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    listed = (await api.http.get(path)).json()
    async with api.watch(path, resourceVersion=str(revision(listed))) as watch:
        await api.create("virtualservices", virtual_service("b"))
        assert (await watch.next_change())["object"]["metadata"]["name"] == "b"


async def test_a_watch_can_tell_when_it_has_told_what_was_there(api: Api) -> None:
    await api.create("virtualservices", virtual_service("a"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with api.watch(api.path("virtualservices"), **query) as watch:
        events = [await watch.next() for _ in range(2)]
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_status_writes_are_told_and_writes_of_nothing_are_not(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a"))
    since = created["metadata"]["resourceVersion"]
    async with api.watch(api.path("virtualservices"), resourceVersion=since) as watch:
        await api.patched("virtualservices", "a", {"spec": created["spec"]})
        status = {"status": {"observedGeneration": "1"}}
        written = await api.patched("virtualservices", "a", status, subresource="status")
        event = await watch.next_change()
    assert (event["type"], revision(event["object"])) == ("MODIFIED", revision(written))


async def test_the_end_of_a_finalized_object_is_told(api: Api) -> None:
    created = await api.create("virtualservices", virtual_service("a", finalizers=["rollout.dev/hold"]))
    since = created["metadata"]["resourceVersion"]
    async with api.watch(api.path("virtualservices"), resourceVersion=since) as watch:
        await api.http.delete(api.path("virtualservices", "a"))
        await api.patched("virtualservices", "a", {"metadata": {"finalizers": []}})
        events = [await watch.next_change() for _ in range(2)]
    assert [event["type"] for event in events] == ["MODIFIED", "DELETED"]
    assert events[0]["object"]["metadata"]["deletionTimestamp"]


async def test_a_watch_for_kubectl_sends_tables(api: Api) -> None:
    since = await _moment(api)
    async with api.watch(api.path("virtualservices"), accept=TABLE, resourceVersion=since) as watch:
        for name in ("a", "b"):
            await api.create("virtualservices", virtual_service(name))
        first, second = [(await watch.next_change())["object"] for _ in range(2)]
    assert first["kind"] == second["kind"] == "Table"
    assert first["columnDefinitions"]
    assert not second["columnDefinitions"]
    assert second["rows"][0]["cells"][0] == "b"


async def test_a_client_that_leaves_a_watch_disturbs_nobody(api: Api) -> None:
    since = await _moment(api)
    async with api.watch(api.path("virtualservices"), resourceVersion=since) as staying:
        async with api.watch(api.path("virtualservices"), resourceVersion=since):
            pass
        await api.create("virtualservices", virtual_service("a"))
        assert (await staying.next_change())["type"] == "ADDED"


@pytest.mark.parametrize("query", [{"resourceVersion": "x"}, {"timeoutSeconds": "soon"}])
async def test_a_watch_with_parameters_nobody_understands_is_refused(api: Api, query: dict[str, str]) -> None:
    answer = await api.http.get(api.path("virtualservices"), params={"watch": "true", **query})
    assert answer.status_code == (500 if "resourceVersion" in query else 400)
