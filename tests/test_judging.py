"""Whole releases before the judge, on fakes: the past, the last step and its retreats, gates, a stable without pods."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from rollout.core.counts import Samples
from rollout.core.judging.clumps import Learned
from rollout.core.judging.gates import Reading
from rollout.core.policy import PolicySpec
from rollout.core.release import Phase, Reason
from rollout.core.route import Unavailable
from rollout.ports import Subject
from rollout.reconciler import Reconciler
from tests import given
from tests.place import Place
from tests.simulation.prometheus import Prometheus


def percent(place: Place) -> int:
    return place.mesh.percent(given.CANARY)


async def test_a_canary_that_fails_only_at_full_weight_is_taken_back_twice_and_then_for_good() -> None:
    place = Place()
    place.prometheus.full_error_rates = {given.CANARY: 0.5}
    await place.begin()
    seen: list[int] = []
    while not (await place.status()).phase.terminal:
        await place.cycle()
        seen += [percent(place)] if seen[-1:] != [percent(place)] else []
    assert seen == [0, 10, 30, 100, 10, 30, 100, 10, 0]
    assert (await place.status()).phase is Phase.ROLLED_BACK
    assert place.mesh.subsets == {given.STABLE}
    assert place.announcer.names(given.NAME).count("step.retreated") == 2


async def test_no_traffic_is_taken_back_to_a_stable_without_pods() -> None:
    place = Place()
    place.prometheus.full_error_rates = {given.CANARY: 0.5}
    await place.begin()
    await place.until(lambda status: status.weight == 100 and status.phase is Phase.ANALYSING)
    place.workloads.ready["checkout-v1"] = 0
    for _ in range(15):
        await place.cycle()
        assert percent(place) == 100
    assert (await place.status()).reason == Reason.UNKNOWN_VERDICT
    place.workloads.ready["checkout-v1"] = 1
    await place.until(lambda status: status.evidence.retreats == 1)
    assert percent(place) == 10


async def test_an_incident_at_full_weight_that_stable_has_too_rolls_nothing_back() -> None:
    place = Place()
    await place.begin()
    await place.until(lambda status: status.weight == 100 and status.phase is Phase.ANALYSING)
    place.prometheus.incident = 0.4
    await place.until(lambda status: status.evidence.retreats == 1)
    await place.until(lambda status: status.phase is Phase.ANALYSING and not status.evidence.alarm)
    place.prometheus.incident = 0.0
    await place.rest()
    status = await place.status()
    assert (status.phase, status.evidence.strikes) == (Phase.PROMOTED, 0)


async def test_a_stable_that_lost_its_pods_for_a_while_is_not_held_against_the_canary() -> None:
    place = Place()
    await place.begin()
    await place.until(lambda status: status.step == 1 and status.phase is Phase.ANALYSING)
    place.workloads.ready["checkout-v1"] = 0
    for _ in range(12):
        await place.cycle()
        assert percent(place) == 30
    place.workloads.ready["checkout-v1"] = 2
    await place.rest()
    assert (await place.status()).phase is Phase.PROMOTED


@pytest.mark.parametrize("share", [0.2, 0.4, 0.8])
async def test_an_incident_that_ends_as_the_retreat_is_written_convicts_nobody(share: float) -> None:
    """What the canary did with all the traffic is no match for what stable did after it."""
    place = Place()
    await place.begin()
    await place.until(lambda status: status.weight == 100 and status.phase is Phase.ANALYSING)
    place.prometheus.incident = share
    await place.until(lambda status: status.evidence.retreats == 1)
    place.prometheus.incident = 0.0
    await place.rest()
    assert (await place.status()).phase is Phase.PROMOTED


def curious(**fields: Any) -> PolicySpec:
    return given.policy(judge=given.JUDGE | {"learn": "1m"}, **fields)


async def test_stables_past_is_read_before_anything_moves() -> None:
    place = Place()
    place.policies.policy = curious()
    place.prometheus.error_rates = {given.STABLE: 0.02}
    place.advance(timedelta(minutes=2))
    await place.begin()
    await place.until(lambda status: status.phase is Phase.SHIFTING)
    learned = (await place.status()).learned
    assert learned is not None
    assert learned.blocks == 60 // 5
    assert learned.errors.rate == pytest.approx(0.02, abs=0.01)
    assert learned.per_second == pytest.approx(60, rel=0.1)
    await place.rest()
    assert (await place.status()).learned == learned
    assert "history.learned" in place.announcer.names(given.NAME)


class Forgetful(Prometheus):
    """Knows only what is now: the past is asked for up to whole blocks, and the clock here never shows a whole one."""

    async def samples(self, subject: Subject, since: datetime, now: datetime) -> Samples | Unavailable:
        if now.microsecond % 1000 == 0:
            return Unavailable("too long ago")
        return await super().samples(subject, since, now)


async def test_a_past_that_cannot_be_read_does_not_stop_a_release_for_ever() -> None:
    place = Place()
    place.policies.policy = curious()
    metrics = Forgetful(place.mesh, place.workloads, given.NOW, given.INTERVAL)
    place.prometheus = metrics
    place.reconciler = Reconciler(replace(place.world, metrics=metrics))
    place.advance(timedelta(microseconds=7))
    await place.begin()
    await place.rest()
    status = await place.status()
    assert (status.phase, status.learned) == (Phase.PROMOTED, Learned())
    assert "history.unavailable" in place.announcer.names(given.NAME)


async def test_a_custom_check_is_asked_and_obeyed() -> None:
    place = Place()
    check = {"name": "carts", "query": 'carts{version="{{version}}"}', "max": 3, "failures": 2}
    place.policies.policy = given.policy(checks={"minRequests": 20, "latency": {"compare": []}, "custom": [check]})
    place.prometheus.measured = {"custom carts": Reading(1.0)}
    await place.begin()
    await place.until(lambda status: status.step == 1 and status.phase is Phase.ANALYSING)
    place.prometheus.measured = {"custom carts": Reading(9.0)}
    await place.rest()
    status = await place.status()
    assert status.phase is Phase.ROLLED_BACK
    assert status.cause is not None
    assert "carts" in status.cause.message


async def test_every_look_is_summed_up_in_a_line_and_what_is_not_measured_is_in_none() -> None:
    place = Place()
    await place.begin()
    await place.rest()
    looks = [fields for name, fields in place.announcer.fields if name == "judge.looked"]
    assert looks
    for fields in looks:
        assert fields["verdict"] in {"open", "proven", "suspect"}
        assert fields["convicts"] == 100
    checks = {fields["check"] for name, fields in place.announcer.fields if name.startswith("check.")}
    assert {"errors", "errors vs stable", "traffic", "saturation overflow"} <= checks
    assert not checks & {"saturation memory", "saturation cpu throttling"}
