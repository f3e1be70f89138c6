import json
import signal
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped] # comes with the Kubernetes client; another parser than ours

from rollout.cli.exits import ExitCode
from rollout.core.counts import Samples
from rollout.core.policy import PolicySpec
from rollout.core.release import Phase
from rollout.core.route import Unavailable
from rollout.ports import Subject
from tests.cli.conftest import MISSING, Terminal
from tests.cli.traffic import POLICY, past
from tests.fakes.metrics import FakeMetrics
from tests.given import NOW, release

PROMETHEUS = ("--prometheus", "http://prometheus:9090")
WINDOW = ("--from", "20m")


@pytest.fixture
def file(tmp_path: Path) -> str:
    found = tmp_path / "checkout.yaml"
    found.write_text(POLICY)
    return str(found)


def told(rollout: Terminal, *arguments: str) -> Any:
    ran = rollout("replay", "checkout", *PROMETHEUS, *WINDOW, "-o", "json", *arguments)
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def release_at_the_end(ago: float) -> float:
    """Ten minutes ago 20 %, five minutes ago 50 %, all of it for the last two."""
    return 0.0 if ago >= 600 else 0.2 if ago >= 300 else 0.5 if ago >= 120 else 1.0


def test_pseudo_releases_of_stables_pods_say_how_often_the_policy_errs(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=32), pods=4)
    found = told(rollout, "--policy", file, "--stable", "v1", "--runs", "12", "--inject", "errors=50%")
    assert found["podsToldApart"] is True
    assert found["healthy"]["runs"] == 12
    assert found["healthy"]["rolledBack"] == 0
    assert found["healthy"]["rolledBackInterval95"][0] == 0
    assert found["healthy"]["medianSecondsToPromote"] == 180
    [fault] = found["injected"]
    assert fault["fault"] == "errors=50%"
    assert fault["rolledBackShare"] == 1
    assert fault["p95SecondsToRollback"] <= 120
    assert fault["medianFailedRequests"] > 0
    assert found["suggestion"]["direction"] == "too few"
    assert found["requests"] > 0


def test_the_same_seed_says_the_same_and_no_cluster_is_asked(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=32), pods=4)
    offline = ("--policy", file, "--stable", "v1", "--runs", "4", "--kubeconfig", MISSING)
    one = told(rollout, *offline)
    assert told(rollout, *offline) == one
    assert told(rollout, *offline, "--seed", "2") != one


def test_where_pods_cannot_be_told_apart_the_table_says_what_that_means(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=32))
    ran = rollout("replay", "checkout", *PROMETHEUS, *WINDOW, "--policy", file, "--stable", "v1", "--runs", "4")
    assert (ran.code, ran.err) == (0, "")
    assert "optimistic" in ran.out
    assert told(rollout, "--policy", file, "--stable", "v1", "--runs", "4")["podsToldApart"] is False


def test_the_table_ends_with_yaml_that_a_policy_takes(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=32), requests=2000, pods=4)
    ran = rollout(
        "replay", "checkout", *PROMETHEUS, *WINDOW, "--policy", file, "--stable", "v1", "--runs", "50",
        "--inject", "latency=+100%",
    )  # fmt: skip
    assert ran.code == 0
    pasted = yaml.safe_load(ran.out[ran.out.index("\nspec:") :])
    assert PolicySpec.model_validate(pasted["spec"]).checks != PolicySpec().checks
    assert "inject latency=+100%" in ran.out


def test_policy_and_stable_come_from_the_newest_release(rollout: Terminal) -> None:
    policy = PolicySpec.model_validate(yaml.safe_load(POLICY)["spec"])
    rollout.given(release(Phase.ROLLED_BACK, name="checkout-v2", policy=policy, stable="v1"))
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=32))
    found = told(rollout, "--runs", "4")
    assert found["stable"] == "v1"
    assert "checkout-v2" in found["policy"]
    assert found["healthy"]["medianSecondsToPromote"] == 180


def test_a_version_that_was_promoted_is_stable_since(rollout: Terminal) -> None:
    rollout.given(release(Phase.PROMOTED, name="checkout-v1", version="v1", stable="v0"))
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=32))
    assert told(rollout, "--runs", "1", "--from", "30m")["stable"] == "v1"


def test_without_any_release_the_defaults_are_used_and_named(rollout: Terminal) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=32))
    found = told(rollout, "--stable", "v1", "--runs", "2", "--from", "30m")
    assert "defaults" in found["policy"]


def test_a_good_release_of_the_past_would_have_passed(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=35), canary=release_at_the_end)
    found = told(rollout, "--versions", "v1,v2", "--policy", file)
    [only] = found["releases"]
    assert [step["weight"] for step in only["steps"]] == [20, 50, 100]
    assert only["rolledBack"] is None
    assert only["reachedFullWeight"] is True
    assert only["learnedBlocks"] > 0
    ran = rollout("replay", "checkout", *PROMETHEUS, *WINDOW, "--versions", "v1,v2", "--policy", file)
    assert ran.code == 0
    assert "would have passed" in ran.out


def test_a_bad_release_of_the_past_would_have_been_rolled_back(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=35), canary=release_at_the_end, canary_errors=0.3)
    [only] = told(rollout, "--versions", "v1,v2", "--policy", file)["releases"]
    assert only["rolledBack"]["weight"] == 20
    assert only["rolledBack"]["check"] == "errors vs stable"
    assert only["failedRequestsAfterwards"] > 100
    ran = rollout("replay", "checkout", *PROMETHEUS, *WINDOW, "--versions", "v1,v2", "--policy", file)
    assert ran.code == 0
    assert "would have rolled back at" in ran.out


def test_a_canary_that_had_traffic_all_along_began_no_release(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=40), canary=lambda _ago: 0.5)
    ran = rollout("replay", "checkout", *PROMETHEUS, *WINDOW, "--versions", "v1,v2", "--policy", file)
    assert ran.code == ExitCode.USAGE
    assert "--from" in ran.err


@pytest.mark.parametrize("versions", ["v1,v3", "v0,v2"])
def test_a_version_without_requests_is_named(rollout: Terminal, file: str, versions: str) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=35), canary=release_at_the_end)
    ran = rollout("replay", "checkout", *PROMETHEUS, *WINDOW, "--versions", versions, "--policy", file)
    assert ran.code == ExitCode.USAGE
    assert {"v1,v3": "checkout-v3", "v0,v2": "checkout-v0"}[versions] in ran.err


def test_a_window_shorter_than_a_release_is_refused(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=32))
    ran = rollout("replay", "checkout", *PROMETHEUS, "--from", "2m", "--policy", file, "--stable", "v1")
    assert ran.code == ExitCode.USAGE
    assert "--from" in ran.err


def test_times_are_also_taken_in_full(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=40))
    window = ("--from", (NOW - timedelta(minutes=25)).isoformat(), "--to", "5m")
    found = told(rollout, "--policy", file, "--stable", "v1", "--runs", "1", *window)
    assert found["from"] == "2026-03-01T11:35:00Z"
    assert found["to"] == "2026-03-01T11:55:00Z"


def test_a_history_that_begins_later_is_used_from_when_there_is_something_to_learn_from(
    rollout: Terminal, file: str
) -> None:
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=20))
    found = told(rollout, "--policy", file, "--stable", "v1", "--runs", "4", "--from", "24h")
    assert "2026-03-01T11:42:00Z" <= found["from"] <= "2026-03-01T11:43:00Z"
    assert found["healthy"]["held"] == {}


def test_on_a_terminal_bars_show_how_far_it_is(rollout: Terminal, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=32))
    monkeypatch.setattr("sys.stderr", screen)
    ran = rollout("replay", "checkout", *PROMETHEUS, *WINDOW, "--policy", file, "--stable", "v1", "--runs", "2")
    assert ran.code == 0
    assert "pseudo-releases" in screen.getvalue()


def test_an_interrupt_while_reading_ends_it_as_shells_expect(rollout: Terminal, file: str) -> None:
    class Interrupting(FakeMetrics):
        async def samples(self, subject: Subject, since: datetime, now: datetime) -> Samples | Unavailable:
            signal.raise_signal(signal.SIGINT)
            return await super().samples(subject, since, now)

    rollout.assembly.prometheus = Interrupting()
    ran = rollout("replay", "checkout", *PROMETHEUS, "--policy", file, "--stable", "v1")
    assert (ran.code, ran.out, ran.err) == (ExitCode.INTERRUPTED, "", "")


def test_a_prometheus_that_does_not_answer_is_an_outage(rollout: Terminal, file: str) -> None:
    rollout.assembly.prometheus.outage = "Prometheus at prometheus:9090 is not reachable: no route"
    for more in (("--stable", "v1"), ("--versions", "v1,v2")):
        ran = rollout("replay", "checkout", *PROMETHEUS, "--policy", file, *more)
        assert ran.code == ExitCode.UNREACHABLE
        assert "no route" in ran.err


def test_without_stable_and_without_releases_it_is_asked_for(rollout: Terminal) -> None:
    ran = rollout("replay", "checkout", *PROMETHEUS)
    assert ran.code == ExitCode.USAGE
    assert "--stable" in ran.err


def test_without_a_cluster_it_says_what_makes_one_needless(rollout: Terminal, file: str) -> None:
    ran = rollout("replay", "checkout", *PROMETHEUS, "--kubeconfig", MISSING)
    assert ran.code == ExitCode.UNREACHABLE
    assert "--policy and --stable" in ran.err
    assert "--stable" in rollout("replay", "checkout", *PROMETHEUS, "--kubeconfig", MISSING, "--policy", file).err


def test_a_file_without_a_policy_for_the_service_is_refused(rollout: Terminal, file: str, tmp_path: Path) -> None:
    assert rollout("replay", "till", *PROMETHEUS, "--policy", file, "--stable", "v1").code == ExitCode.USAGE
    ran = rollout("replay", "checkout", *PROMETHEUS, "--policy", file, "--stable", "v1", "-n", "elsewhere")
    assert ran.code == ExitCode.USAGE
    bad = tmp_path / "bad.yaml"
    bad.write_text("kind: Pod\n")
    ran = rollout("replay", "checkout", *PROMETHEUS, "--policy", str(bad), "--stable", "v1")
    assert ran.code == ExitCode.USAGE
    assert str(bad) in ran.err


def test_a_file_with_policies_of_two_namespaces_needs_one_named(rollout: Terminal, tmp_path: Path) -> None:
    both = tmp_path / "both.yaml"
    both.write_text(POLICY + "---\n" + POLICY.replace("namespace: shop", "namespace: mall"))
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=32))
    arguments = ("replay", "checkout", *PROMETHEUS, *WINDOW, "--policy", str(both), "--stable", "v1", "--runs", "1")
    assert rollout(*arguments).code == ExitCode.USAGE
    assert rollout(*arguments, "-n", "shop").code == 0


@pytest.mark.parametrize("more", [("--inject", "errors=2%"), ("--runs", "9"), ("--stable", "v1")])
def test_what_is_for_pseudo_releases_is_refused_beside_both_versions(
    rollout: Terminal, file: str, more: tuple[str, str]
) -> None:
    ran = rollout("replay", "checkout", *PROMETHEUS, "--versions", "v1,v2", "--policy", file, *more)
    assert ran.code == ExitCode.USAGE
    assert more[0] in ran.err


def test_what_is_not_replayed_and_what_is_at_odds_is_told(rollout: Terminal, file: str) -> None:
    custom = "  checks:\n    errors: {max: 0.01%}\n    custom: [{name: queue, query: queue, max: 9}]\n"
    Path(file).write_text(POLICY.replace("warmUp: 15s", "warmUp: 1m") + custom)
    rollout.assembly.prometheus = past(NOW, timedelta(minutes=35), pods=4, canary=release_at_the_end)
    ran = rollout("replay", "checkout", *PROMETHEUS, *WINDOW, "--policy", file, "--stable", "v1", "--runs", "4")
    assert ran.code == 0, ran.err
    assert "not replayed: custom queue; saturation" in ran.out.splitlines()
    assert [line.split()[1] for line in ran.out.splitlines() if line.startswith("warning:")] == [
        "judge.warmUp",
        "errors.max",
    ]
    assert told(rollout, "--policy", file, "--versions", "v1,v2")["notReplayed"] == ["custom queue", "saturation"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--from", "yesterday"),
        ("--from", "2026-03-01T11:00:00"),
        ("--to", "99999999999999d"),
        ("--from", "1h", "--to", "2h"),
        ("--inject", "errors"),
        ("--inject", "errors=0%"),
        ("--inject", "errors=2"),
        ("--inject", "latency=25%"),
        ("--inject", "latency=+0%"),
        ("--versions", "v1"),
        ("--versions", "v1,v1"),
        ("--versions", "v1,v2,v3"),
        ("--runs", "0"),
        ("--prometheus", "prometheus:9090"),
        ("--prometheus-matcher", "cluster=eu"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error_that_names_the_option(rollout: Terminal, wrong: tuple[str, ...]) -> None:
    ran = rollout("replay", "checkout", *PROMETHEUS, *wrong)
    assert ran.code == ExitCode.USAGE
    assert wrong[0] in ran.err


def test_the_address_of_prometheus_is_asked_for(rollout: Terminal) -> None:
    ran = rollout("replay", "checkout")
    assert ran.code == ExitCode.USAGE
    assert "--prometheus" in ran.err
