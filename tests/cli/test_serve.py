import subprocess
import sys
from pathlib import Path

import pytest

from rollout.core.lease import Timing
from tests.cli.conftest import Terminal


def test_flags_become_settings(nearby: Terminal, tmp_path: Path) -> None:
    (tmp_path / "config").touch()
    arguments = ["--prometheus", "http://p:1", "--policies", str(tmp_path), "--listen", "", "--log-format", "json"]
    ran = nearby("--kubeconfig", str(tmp_path / "config"), "serve", *arguments, "-n", "shop", "-n", "pay")
    [settings] = nearby.assembly.served
    assert ran.code == 0
    assert settings.kubeconfig == tmp_path / "config"
    assert settings.prometheus == "http://p:1"
    assert settings.policies == tmp_path
    assert settings.namespaces == ("shop", "pay")
    assert (settings.listen, settings.log_format) == ("", "json")


def test_flags_of_the_api_become_its_settings(nearby: Terminal, tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    tls = ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    given = ["--listen", ":8443", "--metrics-listen", "", "--config", str(tmp_path), "-n", "shop", "-n", "pay"]
    ran = nearby("api", *given, *tls)
    [settings] = nearby.assembly.api_served
    assert ran.code == 0
    assert (settings.listen, settings.metrics_listen) == (":8443", "")
    assert (settings.tls_cert_file, settings.tls_key_file) == (certificate, key)
    assert (settings.config, settings.namespaces) == (tmp_path, ("shop", "pay"))


@pytest.mark.parametrize(
    "arguments", [["--listen", "8443"], ["--metrics-listen", "x"], ["--tls-cert-file", "a"], ["--tls-key-file", "a"]]
)
def test_what_the_api_cannot_listen_with_is_a_usage_error(nearby: Terminal, arguments: list[str]) -> None:
    assert nearby("api", *arguments).code == 2
    assert nearby.assembly.api_served == []


def test_a_config_file_is_handed_to_the_controller(nearby: Terminal, tmp_path: Path) -> None:
    assert nearby("serve", "--config", str(tmp_path / "config.yaml")).code == 0
    assert nearby.assembly.served[-1].config == tmp_path / "config.yaml"


def test_a_matcher_is_one_label_and_its_value(nearby: Terminal, tmp_path: Path) -> None:
    (tmp_path / "config").touch()
    given = ["--kubeconfig", str(tmp_path / "config"), "serve"]
    two = ["--prometheus-matcher", 'cluster="eu-1"', "--prometheus-matcher", '_team="a b"']
    assert nearby(*given, *two).code == 0
    assert nearby.assembly.served[-1].prometheus_matchers == ('cluster="eu-1"', '_team="a b"')
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
        assert nearby(*given, "--prometheus-matcher", wrong).code == 2


def test_without_a_namespace_all_are_watched_and_a_global_one_counts(nearby: Terminal) -> None:
    nearby("serve")
    nearby("-n", "shop", "serve")
    assert [settings.namespaces for settings in nearby.assembly.served] == [(), ("shop",)]


def test_variables_stand_in_for_flags(nearby: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUT_LISTEN", ":8080")
    monkeypatch.setenv("ROLLOUT_POLICIES", "/policies")
    nearby("serve")
    [settings] = nearby.assembly.served
    assert (settings.listen, settings.policies) == (":8080", Path("/policies"))


def test_the_lease_is_held_for_fifteen_seconds_unless_flags_say_otherwise(nearby: Terminal) -> None:
    nearby("serve")
    given = ["--lease-duration", "6", "--lease-renew-deadline", "4.5", "--lease-retry-period", "0.5"]
    nearby("serve", *given, "--lease-namespace", "ops")
    nearby("serve", "--no-lease")
    usual, short, none = nearby.assembly.served
    assert (usual.lease, usual.lease_namespace) == (Timing(15, 10.0, 2.0), None)
    assert (short.lease, short.lease_namespace) == (Timing(6, 4.5, 0.5), "ops")
    assert none.lease is None


def test_the_lease_is_in_the_pods_namespace_unless_another_is_named(
    nearby: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearby.environ["POD_NAMESPACE"] = "rollout"
    nearby("serve")
    monkeypatch.setenv("ROLLOUT_LEASE_NAMESPACE", "ops")
    nearby("serve")
    assert [settings.lease_namespace for settings in nearby.assembly.served] == ["rollout", "ops"]


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
def test_times_of_the_lease_that_do_not_fit_are_a_usage_error(nearby: Terminal, wrong: tuple[str, str]) -> None:
    assert nearby("serve", *wrong).code == 2
    assert not nearby.assembly.served


@pytest.mark.parametrize("wrong", [("--listen", "foo"), ("--listen", "a b:80"), ("--prometheus", "foo:9090")])
def test_an_address_that_is_none_is_a_usage_error(wrong: tuple[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "rollout", "serve", *wrong], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert wrong[0] in ended.stderr
