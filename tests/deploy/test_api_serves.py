"""`rollout api` as it is deployed: its own account, its rights, the admission policies, a real API server, TLS."""

import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rollout.adapters.clock import SystemClock
from rollout.sandbox.processes import Child
from tests.adapters.access.ci_system import AUDIENCE, CiSystem
from tests.adapters.access.listener import listening
from tests.adapters.outbound.authority import Authority
from tests.deploy.cluster import API, Cluster, create, until

CONFIG = """\
apiVersion: rollout.dev/v1alpha1
kind: ControllerConfig
spec:
  api:
    issuers:
      - {{name: github, kind: github, url: "{url}", audience: {audience},
         reach: {{insecure: true, allow: [127.0.0.0/8]}}}}
"""
POLICIES = "/apis/rollout.dev/v1alpha1/namespaces/shop/servicepolicies"
TRIGGER = {"issuer": "github", "repositoryId": "4711", "environment": "production"}


@dataclass
class Deployed:
    """The API, and who may ask it."""

    url: str
    ca_file: Path
    cluster: Cluster
    ci: CiSystem
    log: Path

    def client(self, token: str = "") -> httpx2.AsyncClient:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx2.AsyncClient(
            base_url=self.url, verify=ssl.create_default_context(cafile=str(self.ca_file)), headers=headers, timeout=20
        )

    def job(self, jti: str) -> str:
        now = int(SystemClock().now().timestamp())
        return self.ci.token(jti=jti, iat=now, nbf=now, exp=now + 300)


@pytest.fixture
async def deployed(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Deployed]:
    await cluster.install("api")
    kubeconfig, config = tmp_path / "kubeconfig", tmp_path / "config.yaml"
    cluster.plane.write_kubeconfig(kubeconfig, "rollout", await cluster.token("rollout-api"))
    authority = Authority(tmp_path)
    authority.server("localhost")
    async with listening() as listener:
        ci = CiSystem(listener)
        config.write_text(CONFIG.format(url=ci.url, audience=AUDIENCE))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        log = tmp_path / "api.log"
        # In the pods the policies are a ConfigMap; here they are none, so that objects alone count.
        argv = [sys.executable, "-m", "rollout", "--kubeconfig", str(kubeconfig), "api", f"--config={config}"]
        argv += [f"--listen=127.0.0.1:{port}", "--metrics-listen=", "--prometheus=http://127.0.0.1:9"]
        argv += [f"--policies={tmp_path / 'none'}", "--log-format=json", "--log-level=debug"]
        argv += [f"--tls-cert-file={tmp_path / 'localhost.pem'}", f"--tls-key-file={tmp_path / 'localhost.key'}"]
        child = Child.spawn("api", argv, log=log)
        try:
            found = Deployed(f"https://localhost:{port}", authority.ca_file, cluster, ci, log)
            async with found.client() as client:

                async def ready() -> bool:
                    with suppress(httpx2.HTTPError):
                        return bool((await client.get("/readyz")).status_code == 200)
                    return False

                await child.ready(ready, 60)
            yield found
        finally:
            await child.stop()


async def account(cluster: Cluster, name: str, role: str) -> str:
    """A token for the API, of an account that has a role in `shop`."""
    cluster.kubectl("create", "serviceaccount", name, "--namespace=shop")
    cluster.kubectl(
        "create", "rolebinding", f"serves-{name}", f"--clusterrole={role}", f"--serviceaccount=shop:{name}", "-n=shop"
    )
    return await cluster.token(name, "shop", "rollout")


async def refusals(deployed: Deployed) -> list[str]:
    """What the Kubernetes API refused to the API's account because of rights or admission policies."""
    entries = [one for one in deployed.cluster.plane.audit() if one.user == API]
    ours = [one for one in entries if one.user_agent.startswith("rollout")]
    return [f"{one.verb} {one.request_uri} {one.code}" for one in ours if one.code in {401, 403, 422}]


def codes(answers: Iterable[httpx2.Response]) -> list[int]:
    return [one.status_code for one in answers]


async def test_a_day_at_the_api_with_the_rights_of_deploy_and_no_others(deployed: Deployed) -> None:
    cluster = deployed.cluster
    policy: dict[str, Any] = {
        "apiVersion": "rollout.dev/v1alpha1",
        "kind": "ServicePolicy",
        "metadata": {"name": "teahouse"},
        "spec": {"allowedTriggers": [TRIGGER]},
    }
    async with cluster.plane.client() as admin:
        await create(admin, POLICIES, policy)
    editor, viewer = [await account(cluster, name, role) for name, role in (("ed", "edit"), ("vi", "view"))]
    start = {"namespace": "shop", "service": "teahouse", "version": "v2"}
    key = {"idempotency-key": "run-1"}

    async with deployed.client(editor) as ed, deployed.client(viewer) as vi, deployed.client() as nobody:

        async def in_force() -> bool:
            # Aggregated roles, and what the API remembers of rights for half a minute.
            may = [(await one.get("/v1/whoami?namespace=shop")).json().get("may", {}) for one in (ed, vi)]
            return [one.get("create") for one in may] == [True, False] and may[1].get("list") is True

        await until(in_force, 90)
        assert codes([await nobody.get("/v1/releases"), await nobody.post("/v1/releases", json=start)]) == [401, 401]
        assert codes([await vi.post("/v1/releases", json=start, headers=key)]) == [403]
        assert codes([await ed.post("/v1/releases", json={**start, "namespace": "pay"}, headers=key)]) == [403]

        made = await ed.post("/v1/releases", json=start, headers=key)
        assert made.status_code == 201, made.text
        place = made.headers["location"]
        again = await ed.post("/v1/releases", json=start, headers=key)
        assert (again.status_code, again.headers["location"]) == (200, place)
        assert codes([await vi.get(place), await vi.post(f"{place}/abort", json={"reason": "x"})]) == [200, 403]
        for verb in ("pause", "resume", "abort"):
            wished = await ed.post(f"{place}/{verb}", json={"reason": "for the test"})
            assert wished.status_code in {200, 202}, wished.text
        spec = (await vi.get(place)).json()["spec"]
        assert spec["abort"]["by"] == "system:serviceaccount:shop:ed"

        frozen = await ed.put("/v1/freezes/shop", json={"reason": "for the test"})
        assert frozen.status_code in {200, 201}, frozen.text
        assert codes([await ed.put("/v1/freezes/all", json={"reason": "x"})]) == [403]
        assert codes([await vi.get("/v1/freezes?namespace=shop"), await vi.delete("/v1/freezes/shop")]) == [200, 403]
        other = {**start, "service": "ledger"}
        assert codes([await ed.post("/v1/releases", json=other, headers={"idempotency-key": "2"})]) == [423]
        assert codes([await ed.delete("/v1/freezes/shop")]) == [204]

    first, second = deployed.job("one"), deployed.job("two")
    async with deployed.client(first) as job, deployed.client(second) as next_job:
        wanted = {**start, "version": "v3", "onConflict": "queue"}
        begun = await job.post("/v1/releases", json=wanted, headers=key)
        assert begun.status_code == 201, begun.text
        stolen = await job.post("/v1/releases", json={**wanted, "version": "v4"}, headers={"idempotency-key": "9"})
        assert stolen.status_code == 403
        assert codes([await job.get(begun.headers["location"]), await job.get("/v1/releases?namespace=shop")]) == [
            200,
            403,
        ]
        assert codes([await next_job.post(f"{begun.headers['location']}/abort", json={"reason": "x"})])[0] in {200, 202}
        assert codes([await job.put("/v1/freezes/shop", json={"reason": "x"})]) == [403]

    assert await refusals(deployed) == []
    log = deployed.log.read_text()
    for token in (editor, viewer, first, second):
        assert token.rsplit(".", 1)[1] not in log
