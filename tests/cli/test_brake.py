"""`stop`, `freeze`, `unfreeze`, `freezes`: everything at once, and what stays frozen."""

import io
import json

import pytest

from rollout.core.freeze import FreezeSpec
from rollout.core.release import Phase, Release
from rollout.ports import Outage
from tests.cli.conftest import Terminal
from tests.given import NAME, NOW, release, seconds


def named(name: str, service: str = "checkout", namespace: str = "shop") -> Release:
    made = release(Phase.ANALYSING, wishes={"service": service}, service=service)
    return made.model_copy(update={"name": name, "namespace": namespace})


def aborted(rollout: Terminal) -> set[str]:
    return {f"{key[0]}/{key[1]}" for key, obj in rollout.cluster._objects.items() if "abort" in obj["spec"]}


def scopes(rollout: Terminal) -> set[str]:
    return {freeze.scope for freeze in rollout.assembly.freezes._all()}


@pytest.fixture
def busy(rollout: Terminal) -> Terminal:
    for one in (named("checkout-a"), named("till-a", "till"), named("pay-a", "pay", "bank")):
        rollout.given(one)
    return rollout


def test_stop_aborts_the_namespace_and_freezes_it(busy: Terminal) -> None:
    ran = busy("stop", "--reason", "database trouble")
    assert ran.code == 0
    assert aborted(busy) == {"shop/checkout-a", "shop/till-a"}
    assert scopes(busy) == {"shop"}
    assert "checkout-a" in ran.out
    assert "rollout unfreeze" in ran.out


def test_stop_of_a_service_leaves_the_others_alone(busy: Terminal) -> None:
    assert busy("stop", "till", "--reason", "no").code == 0
    assert aborted(busy) == {"shop/till-a"}
    assert scopes(busy) == {"shop/till"}


def test_stop_all_stops_every_namespace_and_asks_nobody_in_ci(busy: Terminal) -> None:
    assert busy("stop", "--all", "--reason", "no").code == 0
    assert aborted(busy) == {"shop/checkout-a", "shop/till-a", "bank/pay-a"}
    assert scopes(busy) == {"all"}


def test_stop_may_be_repeated(busy: Terminal) -> None:
    busy("stop", "--reason", "no")
    again = busy("stop", "--reason", "still no")
    assert again.code == 0
    assert aborted(busy) == {"shop/checkout-a", "shop/till-a"}


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("yes\n", 0), ("\n", 2), ("n\n", 2), ("", 2)])
def test_stop_all_on_a_terminal_is_asked_about(
    busy: Terminal, monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Tty(typed))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert busy("stop", "--all", "--reason", "no").code == code
    assert bool(aborted(busy)) == (code == 0)


def test_stop_all_with_yes_is_not_asked_about(busy: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert busy("stop", "--all", "--yes", "--reason", "no").code == 0


def test_a_freeze_says_until_when_and_who_and_why(rollout: Terminal) -> None:
    assert rollout("freeze", "--until", "2h", "--reason", "Black Friday").code == 0
    [found] = json.loads(rollout("freezes", "-o", "json").out)
    assert (found["scope"], found["inForce"]) == ("shop", True)
    assert found["spec"]["until"] == "2026-03-01T14:00:00.000Z"
    assert (found["spec"]["reason"], found["spec"]["by"]) == ("Black Friday", "github:ann")
    row = rollout("freezes").out.splitlines()[1]
    assert row.startswith("shop ")
    assert "Black Friday" in row


def test_an_ended_freeze_is_listed_as_ended(rollout: Terminal) -> None:
    rollout("freeze", "checkout", "--until", "1h", "--reason", "no")
    rollout.clock.at = NOW + seconds(3600)
    [found] = json.loads(rollout("freezes", "-o", "json").out)
    assert (found["scope"], found["inForce"]) == ("shop/checkout", False)


def test_nothing_starts_while_frozen_and_again_once_lifted(rollout: Terminal) -> None:
    rollout("freeze", "--reason", "no")
    refused = rollout("start", "checkout", "--version", "v2")
    assert refused.code == 22
    assert "shop is frozen" in refused.err
    assert "--on-conflict queue" in refused.err
    assert rollout("unfreeze").code == 0
    assert rollout("start", "checkout", "--version", "v2").code == 0


def test_what_stays_frozen_by_another_freeze_is_told(rollout: Terminal) -> None:
    rollout("freeze", "--all", "--reason", "holidays")
    rollout("freeze", "checkout", "--reason", "no")
    ran = rollout("unfreeze", "checkout")
    assert ran.code == 0
    assert "holidays" in ran.err
    assert scopes(rollout) == {"all"}


def test_unfreezing_what_is_not_frozen_is_fine_and_told(rollout: Terminal) -> None:
    ran = rollout("unfreeze", "--all")
    assert ran.code == 0
    assert "no freeze of all" in ran.out


def test_no_freezes_are_told_on_stderr(rollout: Terminal) -> None:
    ran = rollout("freezes")
    assert (ran.code, ran.out) == (0, "")
    assert "shop" in ran.err


def test_all_namespaces_may_be_listed(rollout: Terminal) -> None:
    rollout.assembly.freezes.put_by_hand("bank", "namespace", FreezeSpec())
    assert rollout("freezes").out == ""
    assert "bank" in rollout("freezes", "-A").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["freeze"],
        ["freeze", "checkout", "--all", "--reason", "no"],
        ["freeze", "--until", "yesterday", "--reason", "no"],
        ["freeze", "--until", "2020-01-01T00:00:00Z", "--reason", "no"],
        ["freeze", "--until", "2027-01-01T00:00:00", "--reason", "no"],
        ["stop"],
        ["stop", "checkout", "--all", "--reason", "no"],
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(rollout: Terminal, arguments: list[str]) -> None:
    assert rollout(*arguments).code == 2
    assert not scopes(rollout)


def test_who_may_not_freeze_is_21(afar: Terminal) -> None:
    afar.authorizer.everything.clear()
    ran = afar("freeze", "--reason", "no")
    assert ran.code == 21
    assert not scopes(afar)


def test_an_abort_that_could_not_be_written_is_told_and_20(nearby: Terminal) -> None:
    nearby.given(named(NAME))
    wish = nearby.cluster.wish

    async def lost(*_: object) -> Release:
        nearby.cluster.wish = wish  # type: ignore[method-assign]
        raise Outage("connection reset")

    nearby.cluster.wish = lost  # type: ignore[method-assign,assignment]
    ran = nearby("stop", "--reason", "no")
    assert ran.code == 20
    assert NAME in ran.err
    assert scopes(nearby) == {"shop"}
    assert nearby("stop", "--reason", "no").code == 0
