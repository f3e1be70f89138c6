"""The look after every scrape: what is counted, what convicts, what passes, what is too old to say anything."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from rollout.core import analysis
from rollout.core.counts import Counts, Samples, Series, Tally
from rollout.core.decide import decide
from rollout.core.judging.gates import Reading
from rollout.core.release import Phase, Reason, Release, Window
from rollout.core.route import Unavailable
from rollout.core.turn import Turn
from tests import given
from tests.core.meters import Meters

STEP = given.INTERVAL


def turn(release: Release, samples: Samples | Unavailable | None, now: datetime) -> Turn:
    return Turn(release, given.seen(given.as_ordered(release), samples=samples), now)


def outcomes(release: Release) -> set[str]:
    """What the judge's checks say; saturation needs none of the requests."""
    return {one.outcome for one in release.status.verdicts if not one.check.startswith("saturation")}


def looks(release: Release, *counts: tuple[int, int], canary_errors: int = 0) -> Release:
    """One scrape per interval since the window opened; each pair is (stable's, canary's) requests so far."""
    for number, (stable, canary) in enumerate(counts, start=1):
        at = given.NOW + number * STEP
        samples = given.samples((stable, 0), (canary, canary_errors), at=at)
        status = decide(release, given.seen(given.as_ordered(release), samples=samples), at).status
        release = release.model_copy(update={"status": status})
    return release


@pytest.mark.parametrize(
    "samples",
    [
        None,
        Unavailable("timeout"),
        Samples(series=()),
        given.samples(at=given.NOW - 5 * STEP),
    ],
    ids=["not asked", "no answer", "nothing there", "too old"],
)
def test_silence_is_blindness(samples: Samples | Unavailable | None) -> None:
    release = given.release()
    draft = turn(release, samples, given.NOW)
    outlook = analysis.look(draft, given.policy(), drifted=False)
    assert outlook.blind
    assert not outlook.passed
    assert draft.status.blind_since == given.NOW
    assert draft.status.window == release.status.window


def test_blindness_is_told_once_and_its_end_too() -> None:
    release = given.release()
    blind = turn(release, given.BLIND, given.NOW)
    analysis.look(blind, given.policy(), drifted=False)
    still = turn(release.model_copy(update={"status": blind.status}), given.BLIND, given.NOW + STEP)
    analysis.look(still, given.policy(), drifted=False)
    assert still.status.sequence == blind.status.sequence
    assert still.status.blind_since == given.NOW
    back = turn(release.model_copy(update={"status": still.status}), given.samples(), given.NOW + STEP)
    analysis.look(back, given.policy(), drifted=False)
    assert back.status.blind_since is None
    assert [notice.name for notice in back.status.outbox] == ["metrics.unavailable", "metrics.restored"]


def test_a_counter_whose_start_is_unknown_is_told_once() -> None:
    at = given.NOW + STEP
    points = ((at.timestamp() - 1, 1000.0), (at.timestamp(), 1005.0))
    unknown = Samples((Series("canary", ("pods", "late"), points, code="200"),), newest=at)
    release = given.release()
    first = turn(release, unknown, at)
    analysis.look(first, given.policy(), drifted=False)
    assert [notice.name for notice in first.status.outbox] == ["metrics.uncertain"]
    again = turn(release.model_copy(update={"status": first.status}), replace(unknown, newest=at + STEP), at + STEP)
    analysis.look(again, given.policy(), drifted=False)
    assert again.status.sequence == first.status.sequence


def test_blindness_has_a_deadline() -> None:
    release = given.release(blind_since=given.NOW)
    late = given.NOW + given.policy().deadlines.metrics + timedelta(milliseconds=1)
    assert analysis.look(turn(release, given.BLIND, late), given.policy(), drifted=False).blind_too_long


def test_the_interval_in_which_the_route_was_seen_helps_nobody_to_pass() -> None:
    early = given.NOW + STEP - timedelta(milliseconds=1)
    release = given.release()
    samples = given.samples((900, 0), (100, 0), at=early)
    status = decide(release, given.seen(given.as_ordered(release), samples=samples), early).status
    straddled = release.model_copy(update={"status": status})
    assert outcomes(straddled) == {"unknown"}
    assert outcomes(looks(straddled, (1800, 200))) == {"pass"}


def test_a_proxy_that_was_not_scraped_since_the_route_was_seen_keeps_an_interval_from_passing() -> None:
    """Scrapes rarer than the policy's interval: what comes with the next one began before the route was seen."""
    late = given.NOW + 2 * STEP
    rare = Series("stable", ("proxies", "p2"), ((given.NOW.timestamp() - 1, 0.0), (late.timestamp(), 50.0)), code="200")
    release = looks(given.release(), (900, 100))
    seen = given.samples((1800, 0), (200, 0), at=late)
    samples = replace(seen, series=(*seen.series, rare))
    status = decide(release, given.seen(given.as_ordered(release), samples=samples), late).status
    assert outcomes(release.model_copy(update={"status": status})) == {"unknown"}


def test_scrapes_far_rarer_than_the_interval_are_told_before_anything_moves() -> None:
    minute = given.NOW.timestamp()
    points = tuple((minute - 60.0 * ago, 100.0) for ago in (3, 2, 1, 0))
    samples = Samples((Series("stable", ("proxies", "p1"), points, code="200"),), newest=given.NOW)
    draft = turn(given.release(Phase.PREPARING), samples, given.NOW)
    assert "1m" in (analysis.coarseness(draft, given.policy()) or "")
    assert analysis.coarseness(turn(given.release(Phase.PREPARING), Samples(()), given.NOW), given.policy()) is None


def test_the_interval_in_which_the_route_was_seen_may_convict() -> None:
    convicted = looks(given.release(), (900, 100), canary_errors=90)
    assert convicted.status.phase is Phase.ROLLING_BACK


def test_a_scrape_is_judged_once() -> None:
    at = given.NOW + STEP
    release = looks(given.release(), (900, 100))
    again = turn(release, given.samples(at=at), at + STEP / 5)
    outlook = analysis.look(again, given.policy(), drifted=False)
    assert again.looked == ()
    assert again.status.steps == release.status.steps
    assert outlook.again > timedelta(0)


def test_requests_and_errors_of_the_canary_are_added_up_for_the_step() -> None:
    release = looks(given.release(), (900, 100), (1800, 210), canary_errors=1)
    assert release.status.steps[-1].canary_requests == 210
    assert release.status.steps[-1].canary_errors == 1


def test_losses_that_were_there_before_the_canary_do_not_count_against_it() -> None:
    at = given.NOW + STEP
    lossy = given.samples((9000, 0), (800, 0), lost=200, at=at)
    innocent = given.release(lost_per_second=20.0)
    guilty = given.release(lost_per_second=0.0)
    errors = [
        decide(one, given.seen(given.as_ordered(one), samples=lossy), at).status.steps[-1].canary_errors
        for one in (innocent, guilty)
    ]
    # The canary lacks 200 of its tenth; two standard deviations of that tenth, 60, may be chance.
    assert errors == [0, 140]


@pytest.mark.parametrize(("stable", "canary"), [(8800, 1000), (8820, 980)], ids=["stable's", "both versions'"])
def test_losses_that_leave_the_canary_its_share_do_not_count_against_it(stable: int, canary: int) -> None:
    at = given.NOW + STEP
    release = given.release()
    samples = given.samples((stable, 0), (canary, 0), lost=200, at=at)
    status = decide(release, given.seen(given.as_ordered(release), samples=samples), at).status
    assert (status.steps[-1].canary_requests, status.steps[-1].canary_errors) == (canary, 0)
    assert status.evidence.straddled.astray == 200


def test_a_hand_on_the_route_changes_the_share_that_the_canary_is_held_to() -> None:
    """A person gave the canary half of the traffic: it is missed of a half, though a tenth was ordered."""
    at = given.NOW + STEP
    release = given.release()
    assert release.status.order is not None
    samples = given.samples((5000, 0), (4000, 0), lost=1000, at=at)
    errors = [
        decide(release, given.seen(mesh, samples=samples), at).status.steps[-1].canary_errors
        for mesh in (given.as_ordered(release), given.mesh(50, release.status.order.epoch))
    ]
    assert errors == [0, 900]


def test_what_is_lost_anyway_is_measured_before_the_first_step() -> None:
    span = analysis.LOOKBACK_INTERVALS * STEP
    samples = given.samples(lost=100, since=given.NOW - span, at=given.NOW)
    draft = turn(given.release(Phase.PREPARING), samples, given.NOW)
    analysis.note_what_was_lost_before(draft, given.policy())
    assert draft.status.lost_per_second == pytest.approx(2.0)


def test_a_window_that_grew_long_begins_anew_and_counts_nothing_twice() -> None:
    old = given.NOW - (analysis.LONGEST_WINDOW_INTERVALS + 1) * STEP
    counted = Tally(stable=Counts(requests=9000), canary=Counts(requests=1000))
    release = given.release(window=Window(anchor=old, counted=counted, judged_at=given.NOW - STEP))
    start, before, now = old.timestamp() - 1, (given.NOW - STEP).timestamp(), given.NOW.timestamp()
    series = tuple(
        one.__class__(one.group, one.instance, ((start, 0.0), (before, total), (now, total + grown)), code="200")
        for one, total, grown in zip(given.samples().series[::2], (9000.0, 1000.0), (900.0, 100.0), strict=False)
    )
    draft = turn(release, Samples(series=series, newest=given.NOW), given.NOW)
    analysis.look(draft, given.policy(), drifted=False)
    window = draft.status.window
    assert window is not None
    assert given.NOW - window.anchor == analysis.STALE_INTERVALS * STEP
    assert draft.status.steps[-1].canary_requests == 100
    following = turn(
        release.model_copy(update={"status": draft.status}), Samples(series=series, newest=given.NOW + STEP), given.NOW
    )
    analysis.look(following, given.policy(), drifted=False)
    assert following.status.steps[-1].canary_requests == 100


def test_samples_are_asked_for_from_the_windows_start_or_some_intervals_back() -> None:
    assert analysis.samples_since(Window(anchor=given.NOW), given.policy(), given.NOW + STEP) == given.NOW
    back = analysis.samples_since(None, given.policy(), given.NOW)
    assert given.NOW - back == analysis.LOOKBACK_INTERVALS * STEP


def test_looking_is_never_a_busy_loop() -> None:
    assert analysis.first_look(given.policy(interval="1s")) == timedelta(milliseconds=200)
    assert analysis.first_look(given.policy(interval="20s")) == timedelta(seconds=4)


def test_what_counts_as_failed_is_the_policys() -> None:
    at = given.NOW + STEP
    samples = given.samples((900, 0), (100, 30), at=at)
    lenient = given.policy(checks={"minRequests": 20, "latency": {"compare": []}, "errors": {"codes": ["429"]}})
    errors = []
    for policy in (given.policy(), lenient):
        release = given.release(policy=policy)
        status = decide(release, given.seen(given.as_ordered(release), samples=samples), at).status
        errors.append(status.steps[-1].canary_errors)
    assert errors == [30, 0]


def test_a_long_window_that_begins_anew_counts_the_policys_failures_too() -> None:
    """An error that the window forgets must not come back as a new one, nor be lost."""
    release, meters = given.release(), Meters()
    for number in range(1, 3 * analysis.LONGEST_WINDOW_INTERVALS):
        at = given.NOW + number * STEP
        samples = meters.serve((900, 0), (100, 1))
        release = release.model_copy(
            update={"status": decide(release, given.seen(given.as_ordered(release), samples=samples), at).status}
        )
        if release.status.phase is not Phase.ANALYSING:
            break
        assert release.status.steps[-1].canary_requests == number * 100
        assert release.status.steps[-1].canary_errors == number


def test_a_look_says_what_it_thinks_and_a_turn_without_one_does_not() -> None:
    at = given.NOW + STEP
    release = given.release()
    seen = given.seen(given.as_ordered(release), samples=given.samples(at=at))
    first = decide(release, seen, at)
    assert first.opinion is not None
    assert first.looked == first.status.verdicts
    again = decide(release.model_copy(update={"status": first.status}), seen, at + STEP / 5)
    assert again.opinion is None
    assert again.looked == ()


def test_the_outlook_names_what_is_waited_for() -> None:
    few = turn(given.release(), given.samples((9, 0), (1, 0), at=given.NOW + STEP), given.NOW + STEP)
    outlook = analysis.look(few, given.policy(), drifted=False)
    assert outlook.waiting_for in {verdict.message for verdict in few.looked}
    none = turn(given.release(), given.samples(at=given.NOW), given.NOW)
    assert analysis.look(none, given.policy(), drifted=False).waiting_for == "the first scrape at this weight"


def test_a_gate_that_holds_keeps_a_step_from_passing() -> None:
    policy = given.policy(
        checks={"minRequests": 20, "latency": {"compare": []}, "saturation": {"action": "hold", "failures": 1}}
    )
    release, meters = given.release(policy=policy), Meters()
    for number in range(1, 6):
        at = given.NOW + number * STEP
        seen = given.seen(
            given.as_ordered(release), samples=meters.serve((900, 0), (100, 0)), readings={"memory": Reading(0.95)}
        )
        release = release.model_copy(update={"status": decide(release, seen, at).status})
    assert (release.status.phase, release.status.reason) == (Phase.ANALYSING, Reason.UNKNOWN_VERDICT)
    assert "memory" in release.status.message
    assert release.status.gates.streaks["saturation memory"] == 5


def test_readings_are_judged_once_per_scrape() -> None:
    at = given.NOW + STEP
    release = given.release()
    seen = given.seen(given.as_ordered(release), samples=given.samples(at=at), readings={"memory": Reading(0.95)})
    for _ in range(5):
        release = release.model_copy(update={"status": decide(release, seen, at).status})
    assert release.status.gates.streaks["saturation memory"] == 1
