"""The demo's story on a real kube-apiserver: Deployments that have Pods, a controller that has only its own rights."""

import pytest
import pytest_asyncio

from rollout.sandbox.control_plane import KubernetesMissingError, find_assets
from rollout.sandbox.installation import CONTROLLER
from rollout.sandbox.story import CHAPTERS, Chapter
from tests.e2e.telling import Told, tell

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.prometheus, pytest.mark.asyncio(loop_scope="module")]

ACCOUNT = f"system:serviceaccount:{CONTROLLER}:{CONTROLLER}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    try:
        find_assets()
    except KubernetesMissingError as missing:
        pytest.skip(str(missing))
    return await tell(tmp_path_factory.mktemp("story"), kubernetes=True)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.version)
async def test_every_release_ends_as_the_story_says(told: Told, chapter: Chapter) -> None:
    result = told.results[chapter.version]
    assert result.release.status.phase is chapter.expected, result.release.status.message
    assert result.as_told, result.release.status.message


async def test_prometheus_and_the_load_generator_agree_to_the_request(told: Told) -> None:
    assert told.accounts.differences == ()
    assert told.accounts.requests > 5000


async def test_no_good_version_ever_failed_a_request(told: Told) -> None:
    assert [told.results[version].failed for version in ("v2", "v6")] == [0, 0]


async def test_the_route_is_left_with_the_promoted_version_alone(told: Told) -> None:
    assert told.route == [("v2", 100)]
    assert told.subsets == ["v2"]


async def test_every_order_on_the_route_was_written_by_the_controllers_own_account(told: Told) -> None:
    orders = [entry for entry in told.audit if entry.verb == "patch" and entry.resource == "virtualservices"]
    assert len(orders) > len(CHAPTERS)
    assert {entry.user for entry in orders} == {ACCOUNT}


async def test_the_controller_was_never_refused_anything(told: Told) -> None:
    asked = [entry for entry in told.audit if entry.user == ACCOUNT]
    assert asked
    refused = [(entry.verb, entry.request_uri, entry.code) for entry in asked if entry.code in {401, 403}]
    assert refused == []


async def test_every_version_has_pods_and_those_of_the_unready_one_are_not_ready(told: Told) -> None:
    ready: dict[str, list[str]] = {}
    for pod in told.pods:
        states = {condition["type"]: condition["status"] for condition in pod["status"]["conditions"]}
        ready.setdefault(pod["metadata"]["labels"]["version"], []).append(states["Ready"])
    expected = {chapter.version: ["False" if "ready" in chapter.knobs else "True"] * 2 for chapter in CHAPTERS}
    assert ready == {"v1": ["True", "True"], **expected}
