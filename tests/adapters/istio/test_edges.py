"""Single rules of reading and editing that no ordinary shape shows."""

import pytest

from rollout.adapters.destination_rule import with_subset
from rollout.adapters.signature import EPOCH
from rollout.adapters.virtual_service import landing, ordered, reading, without
from rollout.core.route import Problem, Route
from tests.adapters.istio.shapes import JsonObject, patched, target

WHOM = target(stable="v1")


def rule(**versions: str) -> JsonObject:
    """A DestinationRule: subset name -> version."""
    entries = [{"name": name, "labels": {"version": version}} for name, version in versions.items()]
    return {"metadata": {"resourceVersion": "9"}, "spec": {"host": "checkout", "subsets": entries}}


def service(*routes: JsonObject) -> JsonObject:
    return {"metadata": {"resourceVersion": "7"}, "spec": {"hosts": ["checkout"], "http": list(routes)}}


def split(*parts: tuple[str, int | None], **fields: object) -> JsonObject:
    return {
        "route": [
            {"destination": {"host": "checkout", "subset": subset, "port": {"number": port}}}
            | ({} if weight is None else {"weight": weight})
            for port, (subset, weight) in enumerate(parts)
        ],
        **fields,
    }


BOTH = rule(v1="v1", v2="v2")


def weights(obj: JsonObject, route: int = 0) -> list[tuple[str, int | None]]:
    return [(entry["destination"]["subset"], entry.get("weight")) for entry in obj["spec"]["http"][route]["route"]]


def after(obj: JsonObject, percent: int, rules: JsonObject = BOTH) -> JsonObject:
    operations = ordered(obj, rules, WHOM, Route(percent=percent, epoch=3))
    assert not isinstance(operations, Problem), operations
    return patched(obj, operations)


def test_lowering_a_canary_listed_twice_leaves_all_its_weight_in_one_place() -> None:
    obj = service(split(("v1", 40), ("v2", 30), ("v2", 30)))
    assert weights(after(obj, 10)) == [("v1", 90), ("v2", 10), ("v2", 0)]


def test_a_rollback_leaves_the_second_destination_of_stable_its_share() -> None:
    obj = service(split(("v1", 50), ("v1", 20), ("v2", 30)))
    assert weights(after(obj, 0)) == [("v1", 80), ("v1", 20), ("v2", 0)]


def test_a_rollback_turns_odd_proportions_into_percentages() -> None:
    obj = service(split(("v3", 1), ("v1", 1), ("v2", 1)))
    assert weights(after(obj, 0)) == [("v3", 33), ("v1", 67), ("v2", 0)]


def test_no_share_is_raised_where_two_other_versions_hold_the_traffic() -> None:
    obj = service(split(("v1", 50), ("v3", 50)))
    for whom in (target(), WHOM):
        assert isinstance(ordered(obj, rule(v1="v1", v2="v2", v3="v3"), whom, Route(percent=10, epoch=3)), Problem)


def test_a_version_listed_twice_without_traffic_leaves_together() -> None:
    obj = service(split(("v2", 0), ("v1", 100), ("v2", None)))
    operations = without(obj, BOTH, WHOM, "v2")
    assert not isinstance(operations, Problem)
    assert weights(patched(obj, operations)) == [("v1", 100)]


def test_nothing_is_taken_out_of_a_route_without_any_weight() -> None:
    # One destination takes everything: to remove one of two would turn no traffic into all of it.
    obj = service(split(("v1", None), ("v2", None)))
    assert isinstance(without(obj, BOTH, WHOM, "v2"), Problem)


def test_where_the_name_is_of_no_route_the_split_is_taken_for_the_release() -> None:
    obj = service(
        split(("v2", 100), ("v1", 0), match=[{"uri": {"prefix": "/a"}}]),
        split(("v1", 70), ("v2", 30), match=[{"uri": {"prefix": "/b"}}]),
    )
    whom = target(stable="v1", route="primary")
    assert reading(obj, BOTH, whom).percent == 30


def test_the_canary_is_routed_to_the_subset_of_our_naming_before_another_of_its_version() -> None:
    obj = service(split(("v1", 100)))
    rules = rule(v1="v1", aside="v2", v2="v2")
    assert weights(after(obj, 10, rules)) == [("v1", 90), ("v2", 10)]


def test_traffic_lands_in_the_subset_that_the_route_names() -> None:
    obj = service(split(("stable", 70), ("v2", 30)))
    rules = rule(v1="v1", stable="v1", v2="v2")
    assert landing(obj, rules, WHOM) == ("v2", "stable")
    assert landing(service(split(("v2", None))), rules, WHOM) == ("v2", "v1")
    assert landing(service(split(("stable", None))), rules, WHOM) is None


def test_a_release_of_the_stable_version_itself_moves_nothing() -> None:
    obj = service(split(("v2", 100)))
    assert isinstance(ordered(obj, BOTH, target(stable="v2"), Route(percent=0, epoch=3)), Problem)


def test_traffic_goes_back_to_nobody_where_nobody_is_known_to_be_stable() -> None:
    obj = service(split(("v2", 100)))
    assert isinstance(ordered(obj, BOTH, target(), Route(percent=0, epoch=3)), Problem)


def test_an_order_for_nothing_leaves_its_epoch_even_where_there_is_no_route() -> None:
    obj = service()
    assert after(obj, 0)["metadata"]["annotations"][EPOCH] == "3"
    assert isinstance(ordered(obj, BOTH, WHOM, Route(percent=1, epoch=3)), Problem)


@pytest.mark.parametrize("epoch", ["", "x", "-1", "1.5", "٣", "9" * 5000, 7, None])
def test_an_epoch_that_is_no_decimal_number_counts_as_none(epoch: object) -> None:
    obj = service(split(("v1", None)))
    obj["metadata"]["annotations"] = {EPOCH: epoch}
    assert reading(obj, BOTH, WHOM).epoch == 0


@pytest.mark.parametrize("metadata", [None, {}, {"resourceVersion": 7}, {"resourceVersion": "7", "annotations": [1]}])
def test_what_cannot_be_guarded_is_not_written(metadata: object) -> None:
    obj = service(split(("v1", 70), ("v2", 30))) | {"metadata": metadata}
    assert isinstance(ordered(obj, BOTH, WHOM, Route(percent=0, epoch=3)), Problem)
    assert isinstance(without(obj, BOTH, WHOM, "v2"), Problem)


@pytest.mark.parametrize(
    "rules",
    [
        rule(v2="v2") | {"spec": {"host": "checkout"}},
        rule(v0="v0"),
        rule(v1="v1", v2="v3"),
        {"spec": {"host": "*.shop.svc.cluster.local", "subsets": [{"name": "v1", "labels": {"version": "v1"}}]}},
    ],
)
def test_no_subset_is_added_where_there_is_nothing_to_copy_or_no_room(rules: JsonObject) -> None:
    assert isinstance(with_subset(rules, WHOM, "v2"), Problem)


def test_a_lost_subset_of_stable_is_copied_back_from_the_canarys() -> None:
    operations = with_subset(rule(v2="v2"), WHOM, "v1")
    assert not isinstance(operations, Problem)
    assert patched(rule(v2="v2"), operations)["spec"] == rule(v2="v2", v1="v1")["spec"]
