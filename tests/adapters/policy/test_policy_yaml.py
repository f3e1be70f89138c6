"""Every kind of mistake in a policy file is refused with its place in the text."""

from pathlib import Path

import pytest

from rollout.adapters.policy_yaml import PolicyErrors, read, read_located
from rollout.core.policy import ServicePolicy

HEAD = """\
apiVersion: rollout.dev/v1alpha1
kind: ServicePolicy
metadata: {name: checkout, namespace: shop}
"""

SPEC = HEAD + "spec:\n"


def _places(text: str | bytes) -> list[str]:
    with pytest.raises(PolicyErrors) as caught:
        read(text, "p.yaml")
    for error in caught.value.errors:
        assert str(error).startswith(f"p.yaml:{error.line}:{error.column}: ")
        assert str(error).isprintable()
    return [f"{error.line}:{error.column} {error.path}".rstrip() for error in caught.value.errors]


BAD: dict[str, tuple[str | bytes, list[str]]] = {
    # no YAML
    "an empty file": ("", ["1:1"]),
    "only a comment": ("# nothing\n\n", ["1:1"]),
    "only empty documents": ("---\n---\n", ["1:1"]),
    "an open list": (HEAD + "spec: {steps: [", ["4:16"]),
    "an open quote": (HEAD + 'spec: "abc\n', ["5:1"]),
    "a tab as indentation": (SPEC + "\tinterval: 5s\n", ["5:1"]),
    "a key within a value": (HEAD + "spec: interval: 5s\n", ["4:15"]),
    "wrong indentation": (SPEC + "  interval: 5s\n settle: 5s\n", ["6:2"]),
    "not UTF-8": (HEAD.encode() + b"spec: \xff\n", ["4:7"]),
    "not UTF-8 after letters of two bytes": ("# ééé \n# ".encode() + b"\xe9\n", ["2:3"]),
    "UTF-16": (HEAD.encode("utf-16"), ["1:1"]),
    "a NUL": (HEAD + "spec: a\0b\n", ["4:8"]),
    "an escape character": (HEAD + "# \x1b[31m\n", ["4:3"]),
    # YAML that is more than a configuration file needs
    "an anchor and its alias": (SPEC + "  interval: &x 5s\n  settle: *x\n", ["5:13 spec.interval", "6:11 spec.settle"]),
    "a merge key": (SPEC + "  <<: *x\n", ["5:7 spec.<<"]),
    "a tag": (SPEC + "  interval: !!str 5s\n", ["5:13 spec.interval"]),
    "a tag on the whole": ("!policy\n" + HEAD, ["1:1"]),
    "a YAML directive": ("%YAML 1.1\n---\n" + HEAD, ["2:1"]),
    "a key given twice": (SPEC + "  interval: 5s\n  interval: 6s\n", ["6:3 spec.interval"]),
    "a key given twice in braces": (HEAD + "spec: {settle: 1s, settle: 2s}\n", ["4:20 spec.settle"]),
    "a mapping given twice": (
        SPEC + "  checks: {minRequests: 1}\n  checks: {traffic: {tolerance: 2}}\n",
        ["6:3 spec.checks"],
    ),
    "a list and a mapping under one key": (
        SPEC + "  steps: [{weight: 100}]\n  steps: {weight: 0.5}\n  steps: [a, 0.5, 0.5]\n",
        ["6:3 spec.steps", "7:3 spec.steps"],
    ),
    "a list as key": (HEAD + "? [a]\n: 1\n", ["4:3"]),
    "an alias as key": (HEAD + "? *a\n: 1\n", ["4:3"]),
    "a number too long to be one": (
        SPEC + "  checks: {minRequests: 99999999999999999999}\n",
        ["5:25 spec.checks.minRequests"],
    ),
    "infinity": (
        SPEC + "  checks: {traffic: {tolerance: .inf}}\n",
        ["5:33 spec.checks.traffic.tolerance"],
    ),
    "a float beyond all floats": (
        SPEC + "  checks: {traffic: {tolerance: 1e999}}\n",
        ["5:33 spec.checks.traffic.tolerance"],
    ),
    "not a number": (SPEC + "  metrics: {buckets: [1, .nan]}\n", ["5:26 spec.metrics.buckets.1"]),
    # the outside of the document
    "a list": ("- a\n", ["1:1"]),
    "a word": ("\n  hello\n", ["2:3"]),
    "nothing that belongs": (
        "a: 1\n",
        ["1:1 apiVersion", "1:1 kind", "1:1 metadata", "1:1 a"],
    ),
    "another kind": (HEAD.replace("ServicePolicy", "Release"), ["2:1 kind"]),
    "another version": (HEAD.replace("v1alpha1", "v9"), ["1:1 apiVersion"]),
    "no metadata": ("apiVersion: rollout.dev/v1alpha1\nkind: ServicePolicy\n", ["1:1 metadata"]),
    "no namespace": (HEAD.replace(", namespace: shop", ""), ["3:1 metadata.namespace"]),
    "a status": (HEAD + "status: {}\n", ["4:1 status"]),
    "a spec of nothing": (HEAD + "spec:\n", ["4:1 spec"]),
    # names
    "a name in capitals": (HEAD.replace("checkout", "Checkout"), ["3:12 metadata.name"]),
    "a name that is a number": (HEAD.replace("checkout", "5"), ["3:12 metadata.name"]),
    "a name that is a truth": (HEAD.replace("checkout", "true"), ["3:12 metadata.name"]),
    "a name too long": (HEAD.replace("checkout", "a" * 64), ["3:12 metadata.name"]),
    "a name with a newline": (HEAD.replace("checkout", '"a\\n"'), ["3:12 metadata.name"]),
    "a name that is no Unicode": (HEAD.replace("checkout", '"\\ud800"'), ["3:12 metadata.name"]),
    "a label key that is none": (SPEC + "  podLabel: -x-\n", ["5:3 spec.podLabel"]),
    "a route without a name": (SPEC + "  route: {name: ''}\n", ["5:11 spec.route.name"]),
    "an object name in capitals": (SPEC + "  route:\n    virtualService: A\n", ["6:5 spec.route.virtualService"]),
    "one Deployment for all versions": (SPEC + "  deployment: checkout\n", ["5:3 spec.deployment"]),
    # keys
    "a misspelt key": (SPEC + "  intervall: 5s\n", ["5:3 spec.intervall"]),
    "a key in snake case": (SPEC + "  pod_label: v\n", ["5:3 spec.pod_label"]),
    "a key that is a number": (SPEC + "  5: v\n", ["5:3 spec.5"]),
    "a key with an escape sequence": (SPEC + '  "\\e[31m\\n": v\n', ["5:3 spec.\\x1b[31m\\n"]),
    "a misspelt key of a step, which then lacks it": (
        SPEC + "  steps:\n  - weight: 10\n  - wieght: 100\n",
        ["7:5 spec.steps.1.weight", "7:5 spec.steps.1.wieght"],
    ),
    # types
    "text for a whole number": (SPEC + '  checks: {minRequests: "50"}\n', ["5:12 spec.checks.minRequests"]),
    "a fraction for a whole number": (SPEC + "  steps: [{weight: 100.0}]\n", ["5:12 spec.steps.0.weight"]),
    "a truth for a whole number": (SPEC + "  checks:\n    minRequests: true\n", ["6:5 spec.checks.minRequests"]),
    "a mapping for a list": (SPEC + "  steps: {weight: 100}\n", ["5:3 spec.steps"]),
    "a number for a mapping": (SPEC + "  checks: 5\n", ["5:3 spec.checks"]),
    "a list for a duration": (SPEC + "  interval: [5s]\n", ["5:3 spec.interval"]),
    "an unknown reporter": (SPEC + "  metrics: {reporters: [source, both]}\n", ["5:33 spec.metrics.reporters.1"]),
    # durations and percentages
    "a duration without a unit": (SPEC + "  interval: 15\n", ["5:3 spec.interval"]),
    "a duration in words": (SPEC + "  interval: 15 seconds\n", ["5:3 spec.interval"]),
    "a duration beyond all clocks": (SPEC + "  interval: 999999999999999999999d\n", ["5:3 spec.interval"]),
    "an interval too short": (SPEC + "  interval: 10ms\n", ["5:3 spec.interval"]),
    "an interval too long": (SPEC + "  interval: 6m\n", ["5:3 spec.interval"]),
    "settling too long": (SPEC + "  settle: 1h\n", ["5:3 spec.settle"]),
    "no hold at all": (SPEC + "  steps:\n  - {weight: 100, hold: 0s}\n", ["6:19 spec.steps.0.hold"]),
    "a percentage without its sign": (SPEC + "  checks: {errors: {max: 5}}\n", ["5:21 spec.checks.errors.max"]),
    "a percentage as a fraction": (SPEC + "  checks: {errors: {max: 0.05}}\n", ["5:21 spec.checks.errors.max"]),
    "five hundred percent": (SPEC + "  checks: {errors: {max: 5.0}}\n", ["5:21 spec.checks.errors.max"]),
    "more than all": (SPEC + "  checks: {errors: {max: 101%}}\n", ["5:21 spec.checks.errors.max"]),
    # limits
    "a weight of nothing": (SPEC + "  steps: [{weight: 0}, {weight: 100}]\n", ["5:12 spec.steps.0.weight"]),
    "a weight above 100": (SPEC + "  steps: [{weight: 101}]\n", ["5:12 spec.steps.0.weight"]),
    "no step": (SPEC + "  steps: []\n", ["5:3 spec.steps"]),
    "too many steps": (
        SPEC + "  steps: [" + ", ".join(f"{{weight: {one}}}" for one in range(80, 101)) + "]\n",
        ["5:3 spec.steps"],
    ),
    "a tolerance that tolerates nothing": (
        SPEC + "  checks: {traffic: {tolerance: 1}}\n",
        ["5:22 spec.checks.traffic.tolerance"],
    ),
    # fields that disagree
    "weights that fall": (SPEC + "  steps: [{weight: 50}, {weight: 10}, {weight: 100}]\n", ["5:3 spec.steps"]),
    "weights that stop short": (SPEC + "  steps: [{weight: 50}]\n", ["5:3 spec.steps"]),
    "a deadline within one interval": (
        SPEC + "  interval: 1m\n  deadlines:\n    ready: 30s\n",
        ["7:5 spec.deadlines.ready"],
    ),
    "a deadline before the steps are over": (
        SPEC + "  deadlines:\n    total: 15m\n",
        ["6:5 spec.deadlines.total"],
    ),
    "steps beyond a deadline that is not in the file": (
        SPEC + "  steps: [{weight: 50, hold: 1d}, {weight: 100}]\n",
        ["4:1 spec.deadlines.total"],
    ),
    "a bound between two buckets": (
        SPEC + "  checks:\n    latency:\n      objectives: [p99 < 400ms]\n",
        ["6:5 spec.checks.latency"],
    ),
    "objectives that are none": (
        SPEC
        + "  checks:\n    latency:\n      objectives: [p99, p100 < 1s, 'p0 < 1s', 5, {bound: 1s}, {bound: 1, max: 1%}]",
        [
            "7:20 spec.checks.latency.objectives.0",
            "7:25 spec.checks.latency.objectives.1",
            "7:36 spec.checks.latency.objectives.2",
            "7:47 spec.checks.latency.objectives.3",
            "7:50 spec.checks.latency.objectives.4.max",
            "7:64 spec.checks.latency.objectives.5.bound",
        ],
    ),
    # several at once, in the order of the text
    "problems of several documents": (
        SPEC + "  interval: 5\n---\n" + HEAD.replace("checkout", "cart") + "spec:\n  settle: 6\n---\nx: 1\nx: 2\n",
        [
            "5:3 spec.interval",
            "11:3 spec.settle",
            "13:1 apiVersion",
            "13:1 kind",
            "13:1 metadata",
            "14:1 x",
        ],
    ),
    "a document that ends in the middle after a bad one": (
        SPEC + "  interval: 5\n---\na: [\n",
        ["5:3 spec.interval", "8:1"],
    ),
    "the same service twice": (HEAD + "---\n" + HEAD, ["7:12 metadata.name"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_document_is_refused_with_the_place_and_path_of_each_problem(name: str) -> None:
    text, expected = BAD[name]
    assert _places(text) == expected


GOOD: dict[str, str] = {
    "four lines": HEAD + "spec: {}\n",
    "no spec": HEAD,
    "JSON": '{"apiVersion": "rollout.dev/v1alpha1", "kind": "ServicePolicy", '
    '"metadata": {"name": "checkout", "namespace": "shop"}}',
    "Windows line ends": HEAD.replace("\n", "\r\n"),
    "a byte order mark": "\ufeff" + HEAD,
    "a document start and an empty document after": "---\n" + HEAD + "---\n# nothing more\n",
    "comments with any letters": "# Ünïcödé 🙂\n" + HEAD,
}


@pytest.mark.parametrize("name", GOOD)
def test_these_all_say_the_same_policy(name: str) -> None:
    assert read(GOOD[name], "p.yaml") == read(GOOD[name].encode(), "p.yaml") == read(HEAD, "other.yaml")


def test_words_of_old_yaml_are_text() -> None:
    (policy,) = read(HEAD.replace("checkout", "no") + "spec: {route: {name: on}, podLabel: y}\n", "p.yaml")
    assert (policy.metadata.name, policy.spec.route.name, policy.spec.pod_label) == ("no", "on", "y")


@pytest.mark.parametrize(("written", "meant"), [("0010", 10), ("0xA", 10), ("0o12", 10), ("+10", 10)])
def test_whole_numbers_follow_the_core_schema_of_yaml_1_2(written: str, meant: int) -> None:
    (policy,) = read(SPEC + f"  checks: {{minRequests: {written}}}\n", "p.yaml")
    assert policy.spec.checks.min_requests == meant


def test_quoted_text_is_text_whatever_it_looks_like() -> None:
    (policy,) = read(SPEC + "  route: {name: '5'}\n", "p.yaml")
    assert policy.spec.route.name == "5"
    (policy,) = read(SPEC + '  route: {name: "null", virtualService: null}\n', "p.yaml")
    assert (policy.spec.route.name, policy.spec.route.virtual_service) == ("null", None)


def test_a_file_may_hold_policies_of_several_services_and_says_where_each_is() -> None:
    second = HEAD.replace("checkout", "cart")
    located = read_located(HEAD + "---\n" + second + "---\n" + HEAD.replace("shop", "staging"), "p.yaml")
    assert [(one.policy.metadata.namespace, one.policy.metadata.name, one.line, one.column) for one in located] == [
        ("shop", "checkout", 3, 12),
        ("shop", "cart", 7, 12),
        ("staging", "checkout", 11, 12),
    ]


def test_documents_may_be_one_line_each() -> None:
    policy = "--- {apiVersion: rollout.dev/v1alpha1, kind: ServicePolicy, metadata: {name: a, namespace: b}}\n"
    assert _places(policy * 2) == [f"2:{policy.index('name:') + 1} metadata.name"]


@pytest.mark.parametrize(
    "file", ["config/minimal.yaml", "config/full.yaml", "config/routes.yaml", "deploy/base/policies/checkout.yaml"]
)
def test_what_was_read_reads_the_same_after_a_round_trip(file: str) -> None:
    for policy in read(Path(file).read_bytes(), file):
        assert ServicePolicy.model_validate(policy.wire()) == policy
        assert ServicePolicy.model_validate_json(policy.model_dump_json(by_alias=True)) == policy


def test_a_misspelt_key_is_answered_with_the_right_one() -> None:
    with pytest.raises(PolicyErrors) as caught:
        read(SPEC + "  steps:\n  - wieght: 100\n", "p.yaml")
    assert "`weight`" in str(caught.value)


def test_a_files_name_cannot_break_the_line_of_an_error() -> None:
    with pytest.raises(PolicyErrors) as caught:
        read("", "a\n\x1b[2Jb.yaml")
    assert str(caught.value).isprintable()
