import json
from pathlib import Path

import pytest

from rollout.adapters.cluster import Denied
from rollout.cli.exits import ExitCode
from rollout.core.policy import PolicySpec
from rollout.core.preflight import Finding, Report
from rollout.core.release import Phase
from rollout.core.route import Problem, Target, Unavailable
from tests.cli.conftest import Terminal
from tests.given import policy, release

ASK = ("preflight", "checkout", "--version", "v2", "--prometheus", "http://prometheus:9090")
ERROR = Finding(
    "subset-shadowed", "error", "DestinationRule web/checkout", "it lacks v2", "delete it", "https://x.example/a"
)
WARNING = Finding("no-traffic", "warning", "Service shop/checkout", "nobody calls", "send some", "https://x.example/b")
CHOSEN = Finding(
    "version-label", "info", "Service shop/checkout", "destination_workload, by luck", "nothing", "https://x"
)
POLICY = """\
apiVersion: rollout.dev/v1alpha1
kind: ServicePolicy
metadata: {name: checkout, namespace: pay}
spec: {route: {virtualService: tills}}
"""


def found(*findings: Finding) -> Report:
    return Report((*findings, CHOSEN), "destination_workload")


def test_nothing_found_is_0_and_names_the_label(rollout: Terminal) -> None:
    rollout.assembly.surroundings.answer = found()
    ran = rollout(*ASK)
    assert (ran.code, ran.err) == (0, "")
    assert "destination_workload, by luck" in ran.out.splitlines()[-1]


def test_warnings_alone_are_0_and_an_error_is_22(rollout: Terminal) -> None:
    rollout.assembly.surroundings.answer = found(WARNING)
    assert rollout(*ASK).code == ExitCode.OK
    rollout.assembly.surroundings.answer = found(ERROR, WARNING)
    for form in ("text", "json", "github"):
        assert rollout(*ASK, "--format", form).code == ExitCode.REFUSED


def test_each_finding_is_told_with_what_to_do_and_where_to_read_on(rollout: Terminal) -> None:
    rollout.assembly.surroundings.answer = found(ERROR, WARNING)
    out = rollout(*ASK).out
    for one in (ERROR, WARNING):
        assert f"{one.severity}  {one.code}  {one.object}\n" in out
        for part in (one.message, one.action, one.link):
            assert part in out
    assert out.index(ERROR.code) < out.index(WARNING.code)


def test_json_has_every_field_and_the_label(rollout: Terminal) -> None:
    rollout.assembly.surroundings.answer = found(ERROR)
    told = json.loads(rollout(*ASK, "--format", "json").out)
    assert (told["service"], told["namespace"], told["version"]) == ("checkout", "shop", "v2")
    assert (told["versionLabel"], told["errors"], told["warnings"]) == ("destination_workload", 1, 0)
    assert told["findings"][0] == {
        "code": ERROR.code,
        "severity": "error",
        "object": ERROR.object,
        "message": ERROR.message,
        "action": ERROR.action,
        "link": ERROR.link,
    }


def test_github_gets_annotations_that_nothing_can_break_out_of(rollout: Terminal) -> None:
    evil = Finding("a-b", "warning", "Service x/y,z", "50% :: gone\n::error::fake", "do\rit", "https://x.example")
    rollout.assembly.surroundings.answer = found(ERROR, evil)
    lines = rollout(*ASK, "--format", "github").out.splitlines()
    assert lines[0].startswith("::error title=subset-shadowed%3A DestinationRule web/checkout::it lacks v2")
    assert lines[1].startswith("::warning title=a-b%3A Service x/y%2Cz::50%25 :: gone%0A::error::fake; do: do%0Dit")
    assert len(lines) == 3


def test_an_info_is_a_notice(rollout: Terminal) -> None:
    info = Finding("delegate-root", "info", "VirtualService shop/root", "it delegates", "nothing", "https://x.example")
    rollout.assembly.surroundings.answer = found(info)
    assert rollout(*ASK, "--format", "github").out.startswith("::notice title=delegate-root")


def test_what_could_not_be_looked_at_is_20(rollout: Terminal) -> None:
    rollout.assembly.surroundings.answer = Unavailable("GET /apis: no answer within 5 s")
    ran = rollout(*ASK)
    assert ran.code == ExitCode.UNREACHABLE
    assert "no answer within 5 s" in ran.err


def test_no_right_to_read_releases_is_21_unless_the_policy_is_given(nearby: Terminal, tmp_path: Path) -> None:
    nearby.cluster.refusal = Denied("releases.rollout.dev is forbidden")
    assert nearby(*ASK).code == ExitCode.NOT_ALLOWED
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    assert nearby(*ASK, "--policy", str(file)).code == ExitCode.OK


def test_over_http_the_api_looks_with_a_policy_and_a_prometheus_of_its_own(afar: Terminal, tmp_path: Path) -> None:
    afar.assembly.surroundings.answer = found(ERROR)
    assert afar("preflight", "checkout", "--version", "v2").code == ExitCode.REFUSED
    assert afar(*ASK, "--policy", str(tmp_path)).code == ExitCode.USAGE
    afar.authorizer.everything.clear()
    assert afar(*ASK).code == ExitCode.NOT_ALLOWED


class Looking:
    """Tells what it was asked to look at."""

    def __init__(self) -> None:
        self.answer: Report | Unavailable = Report()

    async def inspect(self, target: Target, policy: PolicySpec) -> Report:
        legs = " ".join(map(str, target.legs))
        seen = f"{target.canary} of {target.service} by {legs} in {len(policy.steps)} steps"
        return Report((Finding("seen", "info", f"Service {target.namespace}/{target.service}", seen, "", ""),))


def looked_at(rollout: Terminal, *more: str) -> tuple[str, str]:
    rollout.assembly.surroundings = Looking()  # type: ignore[assignment] # the same port
    [one] = json.loads(rollout(*ASK, "--format", "json", *more).out)["findings"]
    return one["object"], one["message"]


def test_the_route_is_that_of_the_file_and_its_namespace(nearby: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    assert looked_at(nearby, "--policy", str(file)) == (
        "Service pay/checkout",
        "v2 of checkout by pay/tills in 4 steps",
    )


def test_without_a_file_the_policy_is_that_of_the_newest_release_else_the_default(rollout: Terminal) -> None:
    assert looked_at(rollout) == ("Service shop/checkout", "v2 of checkout by shop/checkout in 4 steps")
    rollout.given(release(Phase.PROMOTED))
    assert looked_at(rollout) == ("Service shop/checkout", "v2 of checkout by shop/checkout in 3 steps")


def test_the_services_policy_object_comes_before_what_any_release_had(rollout: Terminal) -> None:
    rollout.given(release(Phase.PROMOTED))
    rollout.assembly.policies.found = policy(steps=[{"weight": 100, "hold": "1m"}])
    assert looked_at(rollout) == ("Service shop/checkout", "v2 of checkout by shop/checkout in 1 steps")


def test_a_policy_object_that_does_not_fit_is_a_usage_error(nearby: Terminal) -> None:
    nearby.assembly.policies.found = Problem("policy-invalid", "spec.steps: too few")
    assert nearby(*ASK).code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["preflight", "checkout", "--prometheus", "http://p:9090"],
        ["preflight", "Check_out", "--version", "v2", "--prometheus", "http://p:9090"],
        ["preflight", "checkout", "--version", "no version", "--prometheus", "http://p:9090"],
        [*ASK, "--format", "xml"],
        [*ASK, "--policy", "/nonexistent.yaml"],
    ],
)
def test_what_names_no_release_is_a_usage_error(rollout: Terminal, arguments: list[str]) -> None:
    ran = rollout(*arguments)
    assert (ran.code, ran.out) == (ExitCode.USAGE, "")


def test_over_a_kubeconfig_it_must_be_said_where_the_metrics_are(nearby: Terminal) -> None:
    assert nearby("preflight", "checkout", "--version", "v2").code == ExitCode.USAGE
