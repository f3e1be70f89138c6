"""`whoami` and `doctor`: what the other verbs stand on. And `openapi`, which stands on nothing."""

import json

import pytest

from rollout.core.access import Right
from rollout.ports import Outage
from tests.cli.conftest import MISSING, Terminal
from tests.given import release


def test_whoami_names_the_caller_and_their_rights(rollout: Terminal) -> None:
    ran = rollout("whoami")
    assert ran.code == 0
    for part in ("github:ann", "builders", "abort", "shop"):
        assert part in ran.out
    told = json.loads(rollout("whoami", "-o", "json").out)
    assert (told["name"], told["groups"], told["namespace"]) == ("github:ann", ["builders"], "shop")
    assert all(told["may"].values())


def test_whoami_says_what_is_not_allowed(rollout: Terminal) -> None:
    rollout.authorizer.everything.clear()
    rollout.authorizer.grants.add(("github:ann", Right.GET, "shop"))
    rollout.assembly.may = {right.value: right is Right.GET for right in Right}
    may = json.loads(rollout("whoami", "-o", "json").out)["may"]
    assert [right for right, allowed in may.items() if allowed] == ["get"]


def test_doctor_finds_everything_in_order(rollout: Terminal) -> None:
    rollout.given(release())
    ran = rollout("doctor")
    assert ran.code == 0
    assert [row.split()[:2] for row in ran.out.splitlines()[1:]] == [
        [what, "ok"] for what in ("connection", "releases", "freezes", "rights")
    ]


def test_doctor_names_what_fails_and_looks_at_the_rest(rollout: Terminal) -> None:
    rollout.assembly.freezes.fail("connection refused")
    found = {one["what"]: one["state"] for one in json.loads(rollout("doctor", "-o", "json").out)}
    assert found == {"connection": "ok", "releases": "ok", "freezes": "failed", "rights": "ok"}
    assert rollout("doctor").code == 20


def test_doctor_without_the_rights_to_release_is_21(rollout: Terminal) -> None:
    rollout.authorizer.everything.clear()
    rollout.assembly.may["create"] = False
    ran = rollout("doctor")
    assert ran.code == 21
    assert "create" in ran.out


def test_doctor_of_nothing_is_20(nearby: Terminal) -> None:
    ran = nearby("doctor", "--kubeconfig", MISSING)
    assert ran.code == 20
    assert MISSING in ran.out


@pytest.mark.parametrize("answers", [True, False])
def test_doctor_asks_prometheus_where_one_is_named(nearby: Terminal, answers: bool) -> None:
    if not answers:
        nearby.assembly.prometheus.outage = "Prometheus did not answer"
    ran = nearby("doctor", "--prometheus", "http://prometheus:9090")
    assert ran.code == (0 if answers else 20)
    assert "prometheus" in ran.out.splitlines()[-1]


def test_doctor_survives_an_outage_and_tells_it(nearby: Terminal) -> None:
    nearby.cluster.refusal = Outage("connection refused")
    ran = nearby("doctor")
    assert ran.code == 20
    assert "connection refused" in ran.out


def test_doctor_where_nothing_answers_says_so_once(afar: Terminal) -> None:
    ran = afar("doctor", "--server", "http://127.0.0.1:1")
    assert ran.code == 20
    [_, row] = ran.out.splitlines()
    assert row.split()[:2] == ["connection", "failed"]


def test_openapi_is_a_document_with_every_verb(nearby: Terminal) -> None:
    ran = nearby("openapi")
    paths = json.loads(ran.out)["paths"]
    assert ran.code == 0
    for verb in ("abort", "pause", "resume", "promote", "approve"):
        assert f"/v1/releases/{{namespace}}/{{name}}/{verb}" in paths
