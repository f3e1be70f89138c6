"""Services that wait for one another: a circle is found, and named from its beginning to its end."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.core.dependencies import circle_through, circles

_names = st.sampled_from("abcdef")
_policies = st.dictionaries(_names, st.lists(_names, max_size=3).map(tuple))


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ({}, ()),
        ({"a": ()}, ()),
        ({"a": ("b",)}, ()),
        ({"a": ("a",)}, ("a", "a")),
        ({"a": ("b",), "b": ("a",)}, ("a", "b", "a")),
        ({"a": ("b", "c"), "b": ("c",), "c": ("d",), "d": ()}, ()),
        ({"x": ("a",), "a": ("b",), "b": ("c",), "c": ("a",)}, ("a", "b", "c", "a")),
        ({"a": ("b", "c"), "b": ("d",), "c": ("a",), "d": ("a",)}, ("a", "c", "a")),
    ],
)
def test_the_shortest_circle_of_the_first_service_in_one_is_named(
    policies: dict[str, tuple[str, ...]], expected: tuple[str, ...]
) -> None:
    assert circles(policies) == expected


def test_who_only_waits_for_a_circle_is_in_none() -> None:
    policies = {"x": ("a",), "a": ("b",), "b": ("a",)}
    assert circle_through("x", policies) == ()
    assert circle_through("b", policies) == ("b", "a", "b")
    assert circle_through("unknown", policies) == ()


@given(_policies)
def test_a_circle_is_one_and_there_is_none_where_all_can_be_put_in_order(policies: dict[str, tuple[str, ...]]) -> None:
    found = circles(policies)
    assert all(after in policies[one] for one, after in pairwise(found))
    assert not found or found[0] == found[-1]
    left = dict(policies)
    while ready := [one for one, others in left.items() if not any(other in left for other in others)]:
        for one in ready:
            del left[one]
    assert bool(left) == bool(found)


@given(_policies)
def test_the_order_of_the_policies_does_not_matter(policies: dict[str, tuple[str, ...]]) -> None:
    assert circles(dict(reversed(policies.items()))) == circles(policies)
