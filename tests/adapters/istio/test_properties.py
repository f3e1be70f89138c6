"""The edit of a VirtualService, whatever it looks like: only the allowed change, and nothing ever raises."""

import copy
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.adapters.destination_rule import subset_for, subsets_of, with_subset
from rollout.adapters.host_split import Services
from rollout.adapters.signature import order_of
from rollout.adapters.slots import with_slot
from rollout.adapters.virtual_service import feeds, landing, names_subset, ordered, reading, without
from rollout.core.route import Leg, Problem, Route, Target
from tests.adapters.istio.shapes import RELEASE, JsonObject, patched, target

ALLOWED = re.compile(
    r"/metadata/annotations"
    r"|/metadata/annotations/rollout\.dev~1(epoch|release)"
    r"|/spec/http/\d+/route/\d+(/weight)?"
)
KNOWN = ["http", "route", "match", "destination", "host", "subset", "weight", "name", "labels", "version", "delegate"]

scalars = st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(allow_nan=False) | st.text(max_size=8)
junk = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)
weights = st.integers(0, 100) | st.sampled_from([100, 0, 50]) | st.integers(-3, 2**33) | scalars
hosts = st.sampled_from(
    ["checkout", "CHECKOUT", "checkout.shop.svc.cluster.local", "cart", "checkout.shop", "checkout-v1", "checkout-v2"]
)
subset_names = st.sampled_from(["v1", "v2", "v2", "v3", "stable", "canary"])


def sometimes(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[JsonObject]:
    """Objects with these fields, and now and then others that nobody knows."""
    known = st.fixed_dictionaries(required, optional=optional)
    extra = st.dictionaries(st.text(min_size=1, max_size=6).filter(lambda key: key not in KNOWN), junk, max_size=2)
    return st.tuples(extra, known).map(lambda both: both[0] | both[1])


destinations = sometimes(
    {"destination": sometimes({"host": hosts, "subset": subset_names}, {"port": junk})},
    {"weight": weights, "headers": junk},
)
matches = st.sampled_from(
    [[{"uri": {"prefix": "/a"}}], [{"uri": {"prefix": "/"}}], [{"headers": {"a": {"exact": "b"}}}]],
)
routes = sometimes(
    {"route": st.lists(st.one_of(destinations, destinations, destinations, junk), min_size=1, max_size=3)},
    {"name": st.sampled_from(["primary", "other"]), "match": matches | junk, "timeout": junk, "mirror": junk},
)
detours = sometimes({}, {"redirect": junk, "delegate": junk, "directResponse": junk, "route": junk, "name": junk})
annotations = st.none() | st.dictionaries(
    st.sampled_from(["rollout.dev/epoch", "rollout.dev/release", "team", "a/b~c"]),
    st.text(max_size=5) | st.sampled_from(["0", "3", RELEASE]),
    max_size=4,
)
virtual_services = sometimes(
    {
        "metadata": sometimes({"resourceVersion": st.just("7")}, {"annotations": annotations, "labels": junk}),
        "spec": sometimes(
            {"http": st.lists(st.one_of(routes, routes, routes, detours, junk), min_size=1, max_size=3)},
            {"tcp": junk, "tls": junk, "hosts": junk},
        ),
    },
    {"status": junk},
)
likely_weights = st.lists(st.integers(0, 100), min_size=3, max_size=3)


def likely_route(parts: tuple[list[str], list[int], list[JsonObject], bool]) -> JsonObject:
    """A route as people write it: of different versions, weighted to 100 or not at all."""
    versions, shares, extras, to_100 = parts
    numbers = shares[: len(versions)]
    if to_100:
        numbers = [min(numbers[0], 100), *[0] * (len(versions) - 1)]
        numbers[-1] += 100 - numbers[0] if len(versions) > 1 else 0
    entries = [
        extra | {"destination": {"host": "checkout", "subset": version}, "weight": number}
        for version, number, extra in zip(versions, numbers, extras, strict=False)
    ]
    if len(entries) == 1 and not to_100:
        del entries[0]["weight"]
    return {"route": entries}


plausible_routes = st.tuples(
    st.lists(st.sampled_from(["v1", "v2", "v3"]), min_size=1, max_size=3, unique=True),
    likely_weights,
    st.lists(st.dictionaries(st.sampled_from(["headers", "zone"]), junk, max_size=1), min_size=3, max_size=3),
    st.sampled_from([True, True, False]),
).map(likely_route)
plausible = st.fixed_dictionaries(
    {
        "metadata": sometimes({"resourceVersion": st.just("7")}, {"annotations": annotations}),
        "spec": st.fixed_dictionaries({"http": st.tuples(plausible_routes).map(list)}),
    }
)
subsets = sometimes({"name": subset_names}, {"labels": st.fixed_dictionaries({"version": subset_names}) | junk})
rules = st.none() | sometimes(
    {
        "metadata": st.just({"resourceVersion": "9"}),
        "spec": sometimes({"host": hosts, "subsets": st.lists(subsets | junk, max_size=4)}, {"workloadSelector": junk}),
    },
    {},
)
GOOD_RULE: JsonObject = {
    "metadata": {"resourceVersion": "9"},
    "spec": {
        "host": "checkout",
        "subsets": [{"name": name, "labels": {"version": name}} for name in ("v1", "v2", "v3")],
    },
}
targets = st.builds(
    target,
    route=st.sampled_from([None, None, "primary", "missing"]),
    stable=st.sampled_from(["v1", "v1", None, "v3"]),
)
modes = st.sampled_from([{}, {"slots": ("v1", "v2")}, {"slots": ("stable", "canary")}, {"host": "{service}-{version}"}])
services_known = st.builds(
    Services,
    there=st.frozensets(st.sampled_from(["checkout-v1", "checkout-v2", "checkout-v3"])),
    absent=st.frozensets(st.sampled_from(["checkout-v1", "checkout-v2"])),
)
orders = st.builds(Route, percent=st.sampled_from([0, 0, 1, 10, 30, 50, 99, 100]), epoch=st.integers(0, 9))
services = virtual_services | plausible
bounded = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def changes(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """JSON pointers of everything that differs: an added or removed last item of a list is one of them."""
    if type(before) is type(after) and isinstance(before, dict):
        for key in before.keys() | after.keys():
            below = f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}"
            if key not in before or key not in after:
                yield below
            else:
                yield from changes(before[key], after[key], below)
    elif type(before) is type(after) and isinstance(before, list):
        for index in range(max(len(before), len(after))):
            if index >= len(before) or index >= len(after):
                yield f"{path}/{index}"
            else:
                yield from changes(before[index], after[index], f"{path}/{index}")
    elif type(before) is not type(after) or before != after:
        yield path


def only_what_is_ours(before: JsonObject, after: JsonObject) -> None:
    touched = [path for path in changes(before, after) if path != "/metadata/resourceVersion"]
    assert [path for path in touched if not ALLOWED.fullmatch(path)] == []
    assert len({path.split("/")[3] for path in touched if path.startswith("/spec/http/")}) <= 1
    foreign = {
        key: value for key, value in (before["metadata"].get("annotations") or {}).items() if "rollout.dev" not in key
    }
    assert foreign.items() <= (after["metadata"].get("annotations") or {}).items()


def weights_of_changed_route(before: JsonObject, after: JsonObject) -> list[Any]:
    touched = {path.split("/")[3] for path in changes(before, after) if path.startswith("/spec/http/")}
    return [
        entry.get("weight") or 0
        for index in touched
        for entry in after["spec"]["http"][int(index)]["route"]
        if isinstance(entry, dict)
    ]


@bounded
@given(services, st.just(GOOD_RULE) | rules, targets, orders)
def test_an_order_changes_only_what_is_allowed_and_is_read_back(
    service: JsonObject, rule: JsonObject | None, whom: Target, order: Route
) -> None:
    pristine = copy.deepcopy(service)
    operations = ordered(service, rule, whom, order)
    assert service == pristine
    if isinstance(operations, Problem):
        assert operations.code
        assert operations.message
        return
    after = patched(service, operations)
    only_what_is_ours(service, after)
    given_weights = weights_of_changed_route(service, after)
    assert all(type(weight) is int and 0 <= weight <= 100 for weight in given_weights)
    assert not given_weights or sum(given_weights) == 100
    assert order_of(after, whom, whom.legs[0]) == (order.epoch, RELEASE)
    now = reading(after, rule, whom)
    assert now.epoch == order.epoch
    if reading(service, rule, whom).problem is None or order.percent > 0:
        assert now.percent == order.percent
    if now.percent == order.percent:
        assert ordered(after, rule, whom, order) == []


@settings(bounded, max_examples=100)
@given(services, st.just(GOOD_RULE) | rules, targets, modes, services_known, orders)
def test_an_order_in_any_mode_changes_only_what_is_allowed_and_is_read_back(
    service: JsonObject, rule: JsonObject | None, plain: Target, mode: JsonObject, known: Services, order: Route
) -> None:
    whom = replace(plain, **mode)
    operations = ordered(service, rule, whom, order, known)
    if isinstance(operations, Problem):
        return
    after = patched(service, operations)
    only_what_is_ours(service, after)
    given_weights = weights_of_changed_route(service, after)
    assert not given_weights or sum(given_weights) == 100
    now = reading(after, rule, whom, known)
    if reading(service, rule, whom, known).problem is None or order.percent > 0:
        assert now.percent == order.percent
    if now.percent == order.percent:
        assert ordered(after, rule, whom, order, known) == []


@bounded
@given(plausible, st.just(GOOD_RULE), targets, orders)
def test_a_rollback_after_any_order_leaves_no_trace_but_weights_and_the_listed_canary(
    service: JsonObject, rule: JsonObject, whom: Target, order: Route
) -> None:
    stable = whom.stable or reading(service, rule, whom).stable
    whom = replace(whom, legs=(Leg("shop", "checkout"),), stable=stable)
    operations = ordered(service, rule, whom, order)
    if isinstance(operations, Problem):
        return
    during = patched(service, operations)
    back = ordered(during, rule, whom, Route(percent=0, epoch=order.epoch + 1))
    if isinstance(back, Problem):
        # Nobody has ever said who is stable, and the route does not tell.
        assert reading(during, rule, whom).percent > 0
        assert stable not in reading(during, rule, whom).listed
        assert stable in {None, "v3"}
        return
    after = patched(during, back)
    assert reading(after, rule, whom).percent == 0
    only_what_is_ours(service, after)
    dropped = without(after, rule, whom, whom.canary)
    if not isinstance(dropped, Problem):
        only_what_is_ours_after_a_drop(after, patched(after, dropped))


def only_what_is_ours_after_a_drop(before: JsonObject, after: JsonObject) -> None:
    """A destination less moves those behind it up: compare the rest as lists."""
    kept = [entry for entry in before["spec"]["http"][0]["route"] if entry in after["spec"]["http"][0]["route"]]
    assert after["spec"]["http"][0]["route"] == kept
    clone = copy.deepcopy(after)
    clone["spec"]["http"][0]["route"] = before["spec"]["http"][0]["route"]
    clone["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
    assert clone == before


@bounded
@given(junk, junk, targets, modes, services_known, orders)
def test_nothing_that_parses_as_json_makes_the_adapter_raise(
    service: Any, rule: Any, plain: Target, mode: JsonObject, known: Services, order: Route
) -> None:
    whom = replace(plain, **mode)
    for obj in (service, {"spec": service}, {"metadata": service, "spec": {"http": service}}):
        virtual_service = obj if isinstance(obj, dict) else {}
        for one in (rule, {"spec": rule}, {"spec": {"host": "checkout", "subsets": rule}}):
            destination_rule = one if isinstance(one, dict) else None
            mesh = reading(virtual_service, destination_rule, whom, known)
            assert 0 <= mesh.percent <= 100
            ordered(virtual_service, destination_rule, whom, order, known)
            without(virtual_service, destination_rule, whom, whom.canary, known)
            landing(virtual_service, destination_rule, whom, known)
            names_subset(virtual_service, "v2", whom)
            feeds(virtual_service, "v2", whom)
            with_subset(destination_rule or {}, whom, whom.canary)
            with_slot(destination_rule or {}, whom, whom.canary, {"v2": "somebody"})


@bounded
@given(rules, targets)
def test_a_subset_is_added_once_behind_the_others(rule: JsonObject | None, whom: Target) -> None:
    before = rule or {}
    operations = with_subset(before, whom, whom.canary)
    if isinstance(operations, Problem):
        return
    after = patched(before, operations)
    found = subset_for(whom.canary, subsets_of(after, whom))
    assert found is not None
    assert with_subset(after, whom, whom.canary) == []
    if operations:
        assert after["spec"]["subsets"][:-1] == before["spec"]["subsets"]
        assert after["spec"]["subsets"][-1]["labels"]["version"] == whom.canary


@bounded
@given(services, rules, targets, st.sampled_from(["v1", "v2", "v3"]))
def test_a_version_with_traffic_is_never_taken_out(
    service: JsonObject, rule: JsonObject | None, whom: Target, version: str
) -> None:
    before = reading(service, rule, replace(whom, canary=version))
    seen = reading(service, rule, whom)
    operations = without(service, rule, whom, version)
    if isinstance(operations, Problem) or not operations:
        return
    after = reading(patched(service, operations), rule, whom)
    assert version in seen.listed
    assert version not in after.listed
    assert after.percent == seen.percent or before.problem is not None
