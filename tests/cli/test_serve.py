import subprocess
import sys
from pathlib import Path

import pytest

from rollout.core.lease import Timing
from tests.cli.conftest import Terminal


def test_flags_become_settings(rollout: Terminal, tmp_path: Path) -> None:
    (tmp_path / "config").touch()
    arguments = ["--prometheus", "http://p:1", "--policies", str(tmp_path), "--listen", "", "--log-format", "json"]
    ran = rollout("--kubeconfig", str(tmp_path / "config"), "serve", *arguments, "-n", "shop", "-n", "pay")
    [settings] = rollout.assembly.served
    assert ran.code == 0
    assert settings.kubeconfig == tmp_path / "config"
    assert settings.prometheus == "http://p:1"
    assert settings.policies == tmp_path
    assert settings.namespaces == ("shop", "pay")
    assert (settings.listen, settings.log_format) == ("", "json")


def test_a_matcher_is_one_label_and_its_value(rollout: Terminal, tmp_path: Path) -> None:
    (tmp_path / "config").touch()
    given = ["--kubeconfig", str(tmp_path / "config"), "serve"]
    two = ["--prometheus-matcher", 'cluster="eu-1"', "--prometheus-matcher", '_team="a b"']
    assert rollout(*given, *two).code == 0
    assert rollout.assembly.served[-1].prometheus_matchers == ('cluster="eu-1"', '_team="a b"')
    for wrong in (
        "cluster=eu-1",
        'cluster=~"eu.*"',
        'a="b",c="d"',
        'a="b\\""',
        '__name__="x"',
        '{a="b"}',
        'a=""',
        'a="b\n"',
    ):
        assert rollout(*given, "--prometheus-matcher", wrong).code == 2


def test_without_a_namespace_all_are_watched_and_a_global_one_counts(rollout: Terminal) -> None:
    rollout("serve")
    rollout("-n", "shop", "serve")
    assert [settings.namespaces for settings in rollout.assembly.served] == [(), ("shop",)]


def test_variables_stand_in_for_flags(rollout: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_LISTEN", ":8080")
    monkeypatch.setenv("ROLLOUT_POLICIES", "/policies")
    rollout("serve")
    [settings] = rollout.assembly.served
    assert (settings.listen, settings.policies) == (":8080", Path("/policies"))


def test_the_lease_is_held_for_fifteen_seconds_unless_flags_say_otherwise(rollout: Terminal) -> None:
    rollout("serve")
    given = ["--lease-duration", "6", "--lease-renew-deadline", "4.5", "--lease-retry-period", "0.5"]
    rollout("serve", *given, "--lease-namespace", "ops")
    rollout("serve", "--no-lease")
    usual, short, none = rollout.assembly.served
    assert (usual.lease, usual.lease_namespace) == (Timing(15, 10.0, 2.0), None)
    assert (short.lease, short.lease_namespace) == (Timing(6, 4.5, 0.5), "ops")
    assert none.lease is None


def test_the_lease_is_in_the_pods_namespace_unless_another_is_named(
    rollout: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout.environ["POD_NAMESPACE"] = "rollout"
    rollout("serve")
    monkeypatch.setenv("ROLLOUT_LEASE_NAMESPACE", "ops")
    rollout("serve")
    assert [settings.lease_namespace for settings in rollout.assembly.served] == ["rollout", "ops"]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--lease-duration", "10"),
        ("--lease-renew-deadline", "2"),
        ("--lease-retry-period", "0"),
        ("--lease-duration", "0"),
        ("--lease-duration", "15s"),
    ],
)
def test_times_of_the_lease_that_do_not_fit_are_a_usage_error(rollout: Terminal, wrong: tuple[str, str]) -> None:
    assert rollout("serve", *wrong).code == 2
    assert not rollout.assembly.served


@pytest.mark.parametrize("wrong", [("--listen", "foo"), ("--listen", "a b:80"), ("--prometheus", "foo:9090")])
def test_an_address_that_is_none_is_a_usage_error(wrong: tuple[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "rollout", "serve", *wrong], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert wrong[0] in ended.stderr
