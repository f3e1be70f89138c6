"""Two real controllers on a real Kubernetes API, and all that can happen to the one that leads: never two writers."""

import asyncio
import contextlib
import json
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest

from rollout.sandbox.audit import AuditEntry, _entry
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.processes import Child
from tests.flaky_proxy import FlakyProxy

LEASE, RENEW, RETRY = 6, 4.5, 1.0
TIMES = ["--lease-duration", LEASE, "--lease-renew-deadline", RENEW, "--lease-retry-period", RETRY]
PATIENT = 30.0
RELEASES = "/apis/rollout.dev/v1alpha1/namespaces/{}/releases"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
JsonObject = dict[str, Any]


@dataclass
class Controller:
    """`rollout serve` as a user of its own, behind a network of its own."""

    name: str
    user: str
    child: Child
    proxy: FlakyProxy

    def events(self, name: str) -> list[JsonObject]:
        lines = [
            line for line in self.child.log.read_text().splitlines() if line.startswith("{") and line.endswith("}")
        ]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def at(self, name: str) -> datetime:
        """When it last told that event."""
        return datetime.fromisoformat(self.events(name)[-1]["ts"])

    @property
    def leads(self) -> bool:
        """By its own account."""
        over = len(self.events("leader.lost")) + len(self.events("leader.released"))
        return len(self.events("leader.acquired")) > over

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENT
        while not condition():
            assert time.monotonic() < deadline, f"{self.name}: {self.child.tail()}"
            await asyncio.sleep(0.05)


class Stage:
    """A namespace with work in it that never ends, and controllers that would do it."""

    def __init__(self, plane: ControlPlane, http: httpx2.AsyncClient, namespace: str, directory: Path) -> None:
        self.plane = plane
        self.http = http
        self.namespace = namespace
        self.directory = directory
        self._audited: list[AuditEntry] = []
        self._read = plane.audit_log.stat().st_size
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exits.aclose()

    async def post(self, path: str, body: JsonObject) -> JsonObject:
        answer = await self.http.post(path, json=body)
        assert answer.status_code in {200, 201}, answer.text
        made: JsonObject = answer.json()
        return made

    async def start(self, name: str) -> Controller:
        proxy = await self._exits.enter_async_context(FlakyProxy(int(self.plane.url.rpartition(":")[2])))
        token = await self._user(name)
        kubeconfig = self.directory / f"{name}.kubeconfig"
        self.plane.write_kubeconfig(kubeconfig, self.namespace, token)
        kubeconfig.write_text(kubeconfig.read_text().replace(self.plane.url, f"https://127.0.0.1:{proxy.port}"))
        serve = [*("-m", "rollout", "--kubeconfig", kubeconfig, "serve", "-n", self.namespace, "--listen", "")]
        given = ["--prometheus", "http://127.0.0.1:9", "--policies", self.directory, "--log-format", "json", *TIMES]
        child = Child.spawn(
            name, [str(part) for part in (sys.executable, *serve, *given)], log=self.directory / f"{name}.log"
        )
        self._exits.push_async_callback(child.stop, 0.0)
        user = f"system:serviceaccount:{self.namespace}:{name}"
        controller = Controller(name, user, child, proxy)
        await controller.until(lambda: bool(controller.events("controller.started")))
        return controller

    async def leader_and_standby(self) -> tuple[Controller, Controller]:
        first = await self.start("first")
        await first.until(lambda: first.leads)
        second = await self.start("second")
        await first.until(lambda: first.leads or second.leads)
        # On a machine that is very slow the first may have lost it meanwhile.
        leader, standby = (first, second) if first.leads else (second, first)
        await self.until_it_writes(leader)
        await standby.until(lambda: self._has_looked(standby))
        return leader, standby

    def _has_looked(self, controller: Controller) -> bool:
        self._read_on()
        return any(one.user == controller.user and one.resource == "leases" for one in self._audited)

    async def _user(self, name: str) -> str:
        """A ServiceAccount that may do everything in the namespace, the Lease by a right of its own; its token."""
        account = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        await self.post(account, {"metadata": {"name": name}})
        for role in ("work", "lease"):
            await self.post(
                f"{RBAC}/namespaces/{self.namespace}/rolebindings",
                {
                    "metadata": {"name": f"{name}-{role}"},
                    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
                    "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
                },
            )
        made = await self.post(f"{account}/{name}/token", {"spec": {"expirationSeconds": 3600}})
        return str(made["status"]["token"])

    async def lease(self) -> JsonObject:
        answer = await self.http.get(f"{LEASES.format(self.namespace)}/rollout-{self.namespace}")
        spec: JsonObject = answer.json()["spec"]
        return spec

    async def forbid_lease(self, controller: Controller) -> None:
        binding = f"{RBAC}/namespaces/{self.namespace}/rolebindings/{controller.name}-lease"
        assert (await self.http.delete(binding)).status_code == 200

    async def make_work(self) -> None:
        """A release for a service without a policy, several times a second: each wants its end to be written."""
        for number in range(10_000):
            spec = {"service": f"service-{number}", "version": "v2"}
            body = {"apiVersion": "rollout.dev/v1alpha1", "kind": "Release", "metadata": {"name": f"r-{number}"}}
            await self.post(RELEASES.format(self.namespace), {**body, "spec": spec})
            await asyncio.sleep(0.3)

    def writes(self, controller: Controller) -> list[AuditEntry]:
        """What it changed, the Lease aside."""
        self._read_on()
        return [
            entry
            for entry in self._audited
            if entry.user == controller.user
            and entry.verb in {"create", "update", "patch", "delete"}
            and entry.resource != "leases"
            and entry.code < 300
        ]

    def _read_on(self) -> None:
        """Take in what is new in the audit log: all of it, again and again, would leave no time to the proxies."""
        with self.plane.audit_log.open("rb") as log:
            log.seek(self._read)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                if self.namespace.encode() in line:
                    self._audited.append(_entry(json.loads(line)))

    async def until_it_writes(self, controller: Controller) -> None:
        before = len(self.writes(controller))
        await controller.until(lambda: len(self.writes(controller)) > before)

    async def assert_one_after_the_other(self, old: Controller, new: Controller, since: datetime) -> None:
        """The new one works, and from its first write on the old one has written nothing."""
        await self.until_it_writes(new)
        first = min(entry.at for entry in self.writes(new) if entry.at > since)
        assert not [entry for entry in self.writes(old) if entry.at >= first]
        assert (await self.lease())["holderIdentity"] == new.events("leader.acquired")[-1]["identity"]


@pytest.fixture
async def stage(control_plane: ControlPlane, tmp_path: Path) -> AsyncIterator[Stage]:
    namespace = f"failover-{secrets.token_hex(3)}"
    everything = [
        {
            "apiGroups": ["rollout.dev", "networking.istio.io", "events.k8s.io", "apps", ""],
            "resources": ["*"],
            "verbs": ["*"],
        }
    ]
    leases = [
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update", "watch"]}
    ]
    async with control_plane.client() as http, Stage(control_plane, http, namespace, tmp_path) as one:
        await one.post("/api/v1/namespaces", {"metadata": {"name": namespace}})
        for role, rules in (("work", everything), ("lease", leases)):
            await one.post(f"{RBAC}/namespaces/{namespace}/roles", {"metadata": {"name": role}, "rules": rules})
        work = asyncio.create_task(one.make_work())
        yield one
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await http.delete(f"/api/v1/namespaces/{namespace}")


def _now() -> datetime:
    return datetime.now().astimezone()  # noqa: TID251 - compared with the audit log and the processes' own logs


@contextlib.asynccontextmanager
async def slowness() -> AsyncIterator[list[float]]:
    """The seconds that this process lost meanwhile to others on the machine: the ones it watches lost about as many."""
    lost: list[float] = []

    async def measure() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.05)
            lost.append(max(0.0, time.monotonic() - began - 0.06))

    task = asyncio.create_task(measure())
    try:
        yield lost
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_after_kill_9_the_standby_leads_within_the_lease_time_and_a_second(stage: Stage) -> None:
    leader, standby = await stage.leader_and_standby()
    before = await stage.lease()
    async with slowness() as lost:
        killed = _now()
        leader.child.signal(signal.SIGKILL)
        await standby.until(lambda: standby.leads)
    assert (standby.at("leader.acquired") - killed).total_seconds() <= LEASE + 1 + sum(lost)
    await stage.assert_one_after_the_other(leader, standby, killed)
    assert (await stage.lease())["leaseTransitions"] == before["leaseTransitions"] + 1
    assert standby.events("leader.acquired")[-1]["epoch"] == before["leaseTransitions"] + 1


async def test_sigterm_hands_over_within_two_seconds_and_ends_in_good_order(stage: Stage) -> None:
    leader, standby = await stage.leader_and_standby()
    async with slowness() as lost:
        stopped = _now()
        leader.child.signal(signal.SIGTERM)
        await standby.until(lambda: standby.leads)
    assert (standby.at("leader.acquired") - stopped).total_seconds() <= 2 + sum(lost)
    assert await leader.child.wait(10) == 0
    assert leader.at("leader.released") <= standby.at("leader.acquired")
    await stage.assert_one_after_the_other(leader, standby, stopped)


async def test_a_leader_that_was_stopped_for_longer_than_the_lease_wakes_up_as_a_standby(stage: Stage) -> None:
    leader, standby = await stage.leader_and_standby()
    stopped = _now()
    leader.child.signal(signal.SIGSTOP)
    await standby.until(lambda: standby.leads)
    await stage.until_it_writes(standby)
    leader.child.signal(signal.SIGCONT)
    await leader.until(lambda: not leader.leads)
    await asyncio.sleep(2 * LEASE)
    await stage.assert_one_after_the_other(leader, standby, stopped)
    assert leader.child.returncode is None
    standby.child.signal(signal.SIGTERM)
    await leader.until(lambda: leader.leads)
    await stage.until_it_writes(leader)


async def _hang(_stage: Stage, leader: Controller) -> None:
    leader.proxy.hang()


async def _drop(_stage: Stage, leader: Controller) -> None:
    await leader.proxy.drop()


async def _delay(_stage: Stage, leader: Controller) -> None:
    leader.proxy.delay(LEASE)


async def _forbid(stage: Stage, leader: Controller) -> None:
    await stage.forbid_lease(leader)


@pytest.mark.parametrize("happens", [_hang, _drop, _delay, _forbid])
async def test_a_leader_cut_off_from_its_lease_has_stopped_writing_before_another_begins(
    happens: Callable[[Stage, Controller], Awaitable[None]], stage: Stage
) -> None:
    leader, standby = await stage.leader_and_standby()
    async with slowness() as lost:
        cut = _now()
        await happens(stage, leader)
        await standby.until(lambda: standby.leads)
    assert not leader.leads
    assert (leader.at("leader.lost") - cut).total_seconds() <= RENEW + 0.5 + sum(lost)
    assert leader.at("leader.lost") < standby.at("leader.acquired")
    await stage.until_it_writes(standby)
    # What was withheld is delivered now, long after anybody waits for it.
    leader.proxy.resume()
    await asyncio.sleep(LEASE)
    await stage.assert_one_after_the_other(leader, standby, cut)
    assert leader.child.returncode is None


async def test_without_the_api_nobody_acts_and_one_goes_on_when_it_is_back(stage: Stage) -> None:
    first, second = await stage.leader_and_standby()
    for one in (first, second):
        one.proxy.hang()
    await first.until(lambda: not first.leads)
    before = [len(stage.writes(one)) for one in (first, second)]
    await asyncio.sleep(LEASE + 1)
    assert not first.leads
    assert not second.leads
    assert [len(stage.writes(one)) for one in (first, second)] == before
    for one in (first, second):
        one.proxy.resume()
    await first.until(lambda: first.leads or second.leads)
    await asyncio.sleep(2 * RETRY)
    assert [one.leads for one in (first, second)].count(True) == 1
    await stage.until_it_writes(next(one for one in (first, second) if one.leads))
