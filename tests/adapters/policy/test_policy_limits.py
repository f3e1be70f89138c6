"""However a file is made, reading it ends soon, and in policies or in problems."""

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.adapters.policy_yaml import PolicyErrors, read
from rollout.adapters.strict_yaml import MAX_BYTES, MAX_PROBLEMS

HEAD = """\
apiVersion: rollout.dev/v1alpha1
kind: ServicePolicy
metadata: {name: checkout, namespace: shop}
"""
FULL = (
    HEAD
    + """\
spec:
  steps:
    - weight: 10
      hold: 5m # five
    - {weight: 100, hold: 1h}
  interval: 15s
  route: {name: "primary"}
  checks:
    minRequests: 50
    errors: {max: 5%, overStable: {ratio: 1.5, margin: 1%}}
    latency:
      objectives: ['p99 < 500ms', {bound: 1s, max: 2%}]
      compare: [100ms]
  metrics: {reporters: [source]}
"""
)


def _refused(text: str | bytes) -> PolicyErrors:
    with pytest.raises(PolicyErrors) as caught:
        read(text, "p.yaml")
    return caught.value


def test_64_kib_are_read_and_one_byte_more_is_not() -> None:
    full = HEAD + "#" * (MAX_BYTES - len(HEAD))
    assert read(full, "p.yaml") == read(HEAD, "p.yaml")
    assert [(one.line, one.column) for one in _refused(full + "#").errors] == [(1, 1)]


def test_the_limit_counts_bytes_not_characters() -> None:
    _refused(HEAD + "#" + "é" * (MAX_BYTES // 2))


def test_20_levels_are_read_and_21_are_not() -> None:
    deep = _refused(HEAD + "spec: {route: {name: " + "[" * 17 + "]" * 17 + "}}\n").errors
    assert [one.path for one in deep] == ["spec.route.name"]
    (deeper,) = _refused(HEAD + "spec: {route: {name: " + "[" * 18 + "]" * 18 + "}}\n").errors
    assert (deeper.path, deeper.line, deeper.column) == ("", 4, 22 + 17)


def test_an_alias_bomb_is_refused_within_50_ms() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
    )
    read(HEAD, "warm.yaml")
    began = time.process_time()
    errors = _refused(bomb)
    assert time.process_time() - began < 0.05
    assert len(errors.errors) >= 10


@pytest.mark.parametrize(
    "text",
    [
        "[" * MAX_BYTES,
        "{a: " * (MAX_BYTES // 4),
        "[a," * (MAX_BYTES // 3),
        "- " * (MAX_BYTES // 2),
        "? " * (MAX_BYTES // 2),
        "---\n" * (MAX_BYTES // 4),
        "- a\n" * (MAX_BYTES // 4),
        "".join(f"k{index}: v\n" for index in range(6000)),
        "a: &a b\n" * (MAX_BYTES // 8),
        "a: b\n" * (MAX_BYTES // 5),
        HEAD + f"spec: {{x{'y' * 60_000}: 1}}",
        HEAD + f"spec: {{interval: '{'9' * 60_000}d'}}",
        HEAD + f"spec: {{checks: {{minRequests: {'9' * 60_000}}}}}",
        HEAD + f"spec: {{podLabel: {'a-' * 30_000}}}",
        HEAD + f"spec: {{deployment: {'a' * 60_000}}}",
        HEAD + f"spec: {{steps: [{'{weight: 1.5},' * 4000}]}}",
        HEAD + f"spec: {{metrics: {{buckets: [{'1.5,' * 15_000}]}}}}",
    ],
)
def test_64_kib_of_anything_are_refused_in_seconds_with_few_and_short_problems(text: str) -> None:
    began = time.process_time()
    errors = _refused(text)
    # Measured below 1.5 s here; what matters is that none of these takes minutes.
    assert time.process_time() - began < 15
    assert len(errors.errors) <= MAX_PROBLEMS
    assert len(str(errors)) < MAX_PROBLEMS * 1000


def _never_anything_but_policies_or_problems(text: str | bytes) -> None:
    problems = None
    try:
        policies = read(text, "p.yaml")
    except PolicyErrors as errors:
        problems = errors
    if problems is None:
        assert policies
        return
    lines = str(problems).split("\n")
    assert len(lines) == len(problems.errors) >= 1
    assert all(line.startswith("p.yaml:") and line.isprintable() for line in lines)
    assert all(one.line >= 1 and one.column >= 1 for one in problems.errors)


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_bytes_end_in_policies_or_problems(raw: bytes) -> None:
    _never_anything_but_policies_or_problems(raw)


@given(st.text(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_text_ends_in_policies_or_problems(text: str) -> None:
    _never_anything_but_policies_or_problems(text)


TOKENS = st.sampled_from([
    "&a ", "*a", "!x ", "!!binary |\n", "{", "}", "[", "]", ": ", "- ", "\n", "  ", "? ", "| ", ">+\n", "'", '"', "\\",
    "%YAML 1.1\n", "---\n", "...\n", "#", "0x1", "1e999", ".inf", "\t", "\u2028", "\x85", "é", "\ufeff", "\r", "5.0",
    "null", "~", "<<: ", "999999999d23h", "p99 < 400ms", '"\\ud800"', "weight: 5", "spec", "\ud800", "-", "@", "`",
    "5%", "1d", "x" * 1100,
])  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, len(FULL)), st.integers(0, 12), TOKENS), min_size=1, max_size=6))
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_policy_with_anything_broken_in_ends_in_policies_or_problems(edits: list[tuple[int, int, str]]) -> None:
    text = FULL
    for start, length, token in edits:
        text = text[:start] + token + text[start + length :]
    _never_anything_but_policies_or_problems(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.floats(allow_nan=False) | st.sampled_from(["5%", "1s", "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(
        ["steps", "weight", "hold", "checks", "errors", "max", "latency", "objectives", "compare", "metrics", "buckets"]
    ), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_any_structure_as_spec_ends_in_policies_or_problems(spec: object) -> None:
    _never_anything_but_policies_or_problems(HEAD + f"spec: {json.dumps(spec)}\n")
