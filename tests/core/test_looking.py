"""What is worth looking at, in each phase."""

from datetime import timedelta

import pytest

from rollout.core.looking import (
    asks_for_the_place,
    comes_before,
    is_claiming,
    is_settled,
    is_under_way,
    needs_freezes,
    needs_readings,
    needs_samples,
    needs_stable,
)
from rollout.core.release import Phase, Reason, Release
from tests import given

EARLIER = given.NOW - timedelta(minutes=1)


def other(phase: Phase, **fields: object) -> Release:
    return given.release(phase).model_copy(update={"name": "other", **fields})


@pytest.mark.parametrize("phase", Phase)
def test_samples_are_asked_for_where_they_are_judged_or_awaited(phase: Phase) -> None:
    assert needs_samples(given.release(phase)) == (phase in {Phase.PREPARING, Phase.ANALYSING})


@pytest.mark.parametrize("phase", Phase)
def test_readings_are_asked_for_where_they_are_judged_and_before_anything_moves(phase: Phase) -> None:
    assert needs_readings(given.release(phase)) == (phase in {Phase.PREPARING, Phase.ANALYSING})


@pytest.mark.parametrize("phase", Phase)
def test_stables_pods_are_looked_at_where_the_canary_is_judged_beside_them(phase: Phase) -> None:
    assert needs_stable(given.release(phase)) == (phase is Phase.ANALYSING)


def test_who_wants_the_traffic_back_waits_for_no_metric() -> None:
    for unwanted in (given.release(wishes={"abort": given.wish()}), given.release(deleting=True)):
        assert not needs_samples(unwanted)
        assert not needs_readings(unwanted)
        assert not needs_stable(unwanted)


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.terminal and phase is not Phase.PENDING])
def test_a_release_that_began_is_in_the_way_whatever_its_age(phase: Phase) -> None:
    later = given.NOW + timedelta(minutes=1)
    assert comes_before(other(phase, created_at=later), given.release(Phase.PENDING))


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase.terminal])
def test_a_release_that_is_over_is_in_nobodys_way(phase: Phase) -> None:
    assert not comes_before(other(phase, created_at=EARLIER), given.release(Phase.PENDING))


def test_of_two_that_wait_the_older_begins() -> None:
    mine, older = given.release(Phase.PENDING), other(Phase.PENDING, created_at=EARLIER)
    assert comes_before(older, mine)
    assert not comes_before(mine, older)
    assert not comes_before(mine, mine)


def test_an_end_is_settled_once_it_was_told_and_the_object_let_go() -> None:
    ended = given.release(Phase.PROMOTED)
    assert is_settled(ended)
    assert not is_settled(ended.model_copy(update={"held": True}))
    assert not is_settled(given.release())


@pytest.mark.parametrize("phase", Phase)
def test_freezes_are_asked_for_where_somebody_may_start_or_advance(phase: Phase) -> None:
    asks = phase in {Phase.PENDING, Phase.PREPARING, Phase.ANALYSING}
    assert needs_freezes(given.release(phase)) == asks
    assert not needs_freezes(given.release(phase, wishes={"abort": given.wish()}))
    assert not needs_freezes(given.release(phase, deleting=True))


@pytest.mark.parametrize("phase", Phase)
def test_a_release_is_under_way_from_its_claim_to_its_end(phase: Phase) -> None:
    begun = phase is not Phase.PENDING and not phase.terminal
    assert is_under_way(given.release(phase)) == begun
    assert is_claiming(given.release(Phase.PENDING).status, given.release(phase).status) == begun
    assert not is_claiming(given.release(Phase.PREPARING).status, given.release(phase).status)


def test_only_who_is_next_in_line_asks_for_the_place_of_those_before() -> None:
    newer = given.release(Phase.PENDING, wishes={"on_conflict": "supersede"}, reason=Reason.QUEUED.value)
    assert asks_for_the_place(newer, newer.status)
    assert not asks_for_the_place(newer, newer.status.model_copy(update={"reason": Reason.FROZEN.value}))
    assert not asks_for_the_place(newer, given.release(Phase.PREPARING).status)
    patient = given.release(Phase.PENDING, wishes={"on_conflict": "queue"}, reason=Reason.QUEUED.value)
    assert not asks_for_the_place(patient, patient.status)
