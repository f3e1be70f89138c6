"""The demo's story on the real Envoy and Prometheus, with the real controller as a process of its own."""

import pytest
import pytest_asyncio

from rollout.core.events import CATALOGUE, CONTEXT
from rollout.core.release import Phase
from rollout.sandbox.story import CHAPTERS, Chapter
from tests.e2e.telling import Told, tell

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.prometheus, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return await tell(tmp_path_factory.mktemp("story"), kubernetes=False)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.version)
async def test_every_release_ends_as_the_story_says(told: Told, chapter: Chapter) -> None:
    result = told.results[chapter.version]
    assert result.release.status.phase is chapter.expected, result.release.status.message
    assert result.as_told, result.release.status.message


async def test_prometheus_and_the_load_generator_agree_to_the_request(told: Told) -> None:
    assert told.accounts.differences == ()
    assert told.accounts.requests > 5000


async def test_a_failing_canary_is_convicted_within_six_scrapes_of_its_first_bad_request(told: Told) -> None:
    decided = told.results["v3"].decided_s
    assert decided is not None
    assert decided <= 6


async def test_a_slow_canary_is_convicted_within_twelve_scrapes(told: Told) -> None:
    decided = told.results["v4"].decided_s
    assert decided is not None
    assert decided <= 12


@pytest.mark.parametrize("version", ["v2", "v6"])
async def test_a_good_canary_is_never_held(told: Told, version: str) -> None:
    name = told.results[version].release.name
    events = [line["event"] for line in told.lines if line.get("release") == name]
    assert "judge.looked" in events
    assert not {"step.held", "step.retreated"} & set(events)


@pytest.mark.parametrize("version", ["v3", "v4"])
async def test_the_evidence_is_seen_to_grow_until_it_convicts(told: Told, version: str) -> None:
    name = told.results[version].release.name
    looks = [line for line in told.lines if line.get("release") == name and line["event"] == "judge.looked"]
    evidence = [float(str(line["evidence"])) for line in looks]
    assert evidence[0] < 10
    assert evidence[-1] >= 100
    assert evidence[-3:] == sorted(evidence[-3:])


async def test_what_stable_did_before_is_learned_once_for_each_release_that_gets_that_far(told: Told) -> None:
    learned = [line["release"] for line in told.lines if line["event"] == "history.learned"]
    assert len(learned) == len(set(learned))
    assert {told.results[version].release.name for version in ("v2", "v3", "v4", "v6")} <= set(learned)


@pytest.mark.parametrize("version", ["v3", "v4", "v6"])
async def test_a_rollback_is_in_effect_within_100_ms_of_its_decision(told: Told, version: str) -> None:
    result = told.results[version]
    assert result.took_effect_s is not None
    assert result.took_effect_s <= 0.1


async def test_a_version_that_is_never_ready_receives_no_request(told: Told) -> None:
    assert told.results["v5"].requests == 0


async def test_the_promoted_release_went_through_every_weight(told: Told) -> None:
    assert [step.weight for step in told.results["v2"].release.status.steps] == [10, 30, 50, 100]


async def test_the_aborted_release_never_went_past_the_weight_at_which_it_was_aborted(told: Told) -> None:
    assert [step.weight for step in told.results["v6"].release.status.steps] == [10, 30]


async def test_the_route_is_left_with_the_promoted_version_alone(told: Told) -> None:
    assert told.route == [("v2", 100)]


async def test_no_subset_of_a_loser_is_left_behind(told: Told) -> None:
    assert told.subsets == ["v2"]


async def test_the_controller_stays_small(told: Told) -> None:
    assert told.peak_mib < 120


async def test_every_line_of_a_release_is_in_the_catalogue_and_carries_its_context(told: Told) -> None:
    of_releases = [line for line in told.lines if "release" in line]
    assert of_releases
    for line in of_releases:
        assert line["event"] in CATALOGUE
        assert set(CONTEXT) <= set(line)


async def test_every_end_is_announced_once(told: Told) -> None:
    ends = {
        Phase.PROMOTED: "succeeded",
        Phase.ROLLED_BACK: "rolled_back",
        Phase.ABORTED: "aborted",
        Phase.FAILED: "failed",
    }
    for result in told.results.values():
        wanted = f"release.{ends[result.release.status.phase]}"
        lines = [line for line in told.lines if line.get("release") == result.release.name and line["event"] == wanted]
        assert len(lines) == 1
