"""`rollout api` as a process: it answers, on a real Kubernetes API too, and ends in good order."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer
from rollout.sandbox.processes import Child

SOON = 40.0
RBAC = "/apis/rbac.authorization.k8s.io/v1"


@dataclass(frozen=True)
class Running:
    child: Child
    url: str
    metrics: str


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def spawned(folder: Path, kubeconfig: Path, *more: str) -> Running:
    ports = free_port(), free_port()
    argv = [
        *(sys.executable, "-m", "rollout", "--kubeconfig", str(kubeconfig), "api", "--policies", str(folder)),
        *("--listen", f"127.0.0.1:{ports[0]}", "--metrics-listen", f"127.0.0.1:{ports[1]}", "--log-format", "json"),
        *("--prometheus", "http://127.0.0.1:9"),
        *more,
    ]
    child = Child.spawn("api", argv, log=folder / "api.log", env=dict(os.environ))
    return Running(child, f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}")


@asynccontextmanager
async def running(folder: Path, kubeconfig: Path, *more: str) -> AsyncIterator[Running]:
    """The process, once it is ready."""
    up = spawned(folder, kubeconfig, *more)

    async def is_ready() -> bool:
        try:
            async with httpx2.AsyncClient(trust_env=False) as client:
                return bool((await client.get(f"{up.url}/readyz")).status_code == 200)
        except httpx2.TransportError:
            await asyncio.sleep(0.05)
            return False

    try:
        await up.child.ready(is_ready, SOON)
        yield up
    finally:
        await up.child.stop()


@pytest.fixture
async def kubeconfig(tmp_path: Path) -> AsyncIterator[Path]:
    server = KubernetesServer()
    await server.start()
    path = tmp_path / "kubeconfig"
    server.write_kubeconfig(path)
    yield path
    await server.stop()


async def test_probes_and_metrics_answer_and_sigterm_ends_it_in_good_order(tmp_path: Path, kubeconfig: Path) -> None:
    async with running(tmp_path, kubeconfig) as up, httpx2.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{up.url}/livez")).status_code == 200
        assert (await client.get(f"{up.url}/v1/releases")).status_code == 401
        assert (await client.get(f"{up.url}/metrics")).status_code == 401
        assert "rollout_http_requests_total" in (await client.get(f"{up.metrics}/metrics")).text
        up.child.signal(signal.SIGTERM)
        assert await up.child.wait(10) == 0, up.child.tail()


@pytest.mark.parametrize("wrong", ["certificate", "config", "port"])
async def test_what_it_cannot_begin_with_is_told_at_once(tmp_path: Path, kubeconfig: Path, wrong: str) -> None:
    (tmp_path / "bad.yaml").write_text("nonsense")
    bad = str(tmp_path / "bad.yaml")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        more = {
            "certificate": ("--tls-cert-file", bad, "--tls-key-file", bad),
            "config": ("--config", bad),
            "port": ("--listen", f"127.0.0.1:{taken.getsockname()[1]}"),
        }
        up = spawned(tmp_path, kubeconfig, *more[wrong])
        try:
            assert await up.child.wait(SOON) in {2, 20}, up.child.tail()
            assert "Traceback" not in up.child.tail()
        finally:
            await up.child.stop()


async def ci_token(plane: ControlPlane, namespace: str) -> str:
    """Of an account that may start and look at releases of this namespace, and nothing else."""
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    rule = {"apiGroups": ["rollout.dev"], "resources": ["releases"], "verbs": ["create", "get", "abort"]}
    ref = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ci"}
    subject = {"kind": "ServiceAccount", "name": "ci", "namespace": namespace}
    where = f"{RBAC}/namespaces/{namespace}"
    asked = {"spec": {"audiences": ["rollout"], "expirationSeconds": 3600}}
    async with plane.client() as http:
        for path, body in (
            (accounts, {"metadata": {"name": "ci"}}),
            (f"{where}/roles", {"metadata": {"name": "ci"}, "rules": [rule]}),
            (f"{where}/rolebindings", {"metadata": {"name": "ci"}, "roleRef": ref, "subjects": [subject]}),
        ):
            made = await http.post(path, json=body)
            assert made.status_code == 201, made.text
        given = await http.post(f"{accounts}/ci/token", json=asked)
        assert given.status_code == 201, given.text
    return str(given.json()["status"]["token"])


async def test_on_a_real_kubernetes_api_a_token_starts_follows_and_aborts_and_does_nothing_else(
    control_plane: ControlPlane, real_namespace: str, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    control_plane.write_kubeconfig(kubeconfig, real_namespace)
    token = await ci_token(control_plane, real_namespace)
    body = {"namespace": real_namespace, "service": "checkout", "version": "v2"}
    headers = {"authorization": f"Bearer {token}"}
    async with (
        running(tmp_path, kubeconfig) as up,
        httpx2.AsyncClient(base_url=up.url, headers=headers, trust_env=False, timeout=SOON) as client,
        asyncio.timeout(SOON),
    ):
        started = await client.post("/v1/releases", json=body, headers={"idempotency-key": "one"})
        assert started.status_code == 201, started.text
        release = started.headers["location"]
        assert started.json()["spec"]["source"]["actor"] == f"system:serviceaccount:{real_namespace}:ci"
        assert (await client.get("/v1/releases")).status_code == 403
        assert (await client.post(f"{release}/promote")).status_code == 403
        other = await client.post(
            "/v1/releases", json=body | {"namespace": "default"}, headers={"idempotency-key": "2"}
        )
        assert other.status_code == 403
        wait = {"wait": "30s", "after": started.json()["revision"]}
        polled = asyncio.create_task(client.get(release, params=wait))
        aborted = await client.post(f"{release}/abort", json={"reason": "enough"})
        assert aborted.status_code == 202
        assert (await polled).json()["spec"]["abort"]["reason"] == "enough"
        async with client.stream("GET", f"{release}/events") as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            up.child.signal(signal.SIGTERM)
            async for _ in lines:
                pass
        assert await up.child.wait(10) == 0, up.child.tail()
    assert token not in (tmp_path / "api.log").read_text()
