"""Freezes: what they are for, how long they hold, and which of several is told of."""

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from rollout.core.freeze import Freeze, FreezeSpec, freeze_name, in_force

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def freeze(namespace: str = "shop", **spec: object) -> Freeze:
    return Freeze(namespace=namespace, name="x", spec=FreezeSpec.model_validate(spec))


def test_a_freeze_names_its_scope_as_people_do() -> None:
    assert freeze(everywhere=True).scope == "all"
    assert freeze().scope == "shop"
    assert freeze(service="checkout").scope == "shop/checkout"


def test_each_scope_has_one_name_in_its_namespace() -> None:
    names = [
        freeze_name(None, everywhere=True),
        freeze_name(None, everywhere=False),
        freeze_name("all", everywhere=False),
        freeze_name("namespace", everywhere=False),
    ]
    assert names == ["all", "namespace", "service-all", "service-namespace"]


def test_a_freeze_of_everything_names_no_service() -> None:
    with pytest.raises(ValidationError) as caught:
        FreezeSpec(everywhere=True, service="checkout")
    assert [error["ctx"]["path"] for error in caught.value.errors()] == ["service"]


def test_a_freeze_holds_until_its_end_and_for_ever_without_one() -> None:
    ends = freeze(until=NOON)
    assert ends.holds(NOON - timedelta(microseconds=1))
    assert not ends.holds(NOON)
    assert freeze().holds(datetime.max.replace(tzinfo=UTC))


def test_of_several_the_one_that_lasts_longest_is_told_of() -> None:
    over, short, long = (freeze(until=NOON + timedelta(hours=hours)) for hours in (-1, 1, 2))
    assert in_force([], NOON) is None
    assert in_force([over], NOON) is None
    assert in_force([over, long, short], NOON) == long
    assert in_force([over, long, freeze(reason="always"), short], NOON) == freeze(reason="always")


def test_a_freeze_is_the_same_after_a_round_trip_through_its_wire_form() -> None:
    spec = FreezeSpec(service="checkout", until=NOON, reason="audit", by="ann", at=NOON - timedelta(days=1))
    assert FreezeSpec.model_validate(spec.wire()) == spec
