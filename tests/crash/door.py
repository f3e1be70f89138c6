"""The HTTP API as a process of its own on the real Kubernetes API, and those who come to it with tokens of theirs.

Belongs here: its account with the rights of deploy/, tokens, the command line as pipelines and people type it. Does not
belong here: what they ask for.
"""

import asyncio
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from ruamel.yaml import YAML

from rollout.sandbox.cluster_client import JsonObject
from rollout.sandbox.processes import Child
from tests.crash.arena import Arena

API = "rollout-api"
HOME = "rollout"
_DEPLOY = Path(__file__).parents[2] / "deploy"
_FILES = (
    "base/roles-for-people.yaml",
    "components/api/serviceaccount.yaml",
    "components/api/rbac.yaml",
    "components/api/admission.yaml",
    "api-rights/rbac.yaml",
)
_TOKEN_S = 3600
_STARTS_S = 30.0


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


class Door:
    """`rollout api`, for the time of an `async with`; its account and everybody's rights stay."""

    def __init__(self, arena: Arena, run_dir: Path) -> None:
        self._arena, self._dir = arena, run_dir
        self._child: Child | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        for file in _FILES:
            for obj in YAML(typ="safe", pure=True).load_all((_DEPLOY / file).read_text()):
                await self._arena.cluster.apply(obj)
        kubeconfig, log = self._dir / "api.kubeconfig", self._dir / "api.log"
        self._arena.plane.write_kubeconfig(kubeconfig, HOME, await self._token(API, HOME, audience=None))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        log.touch()
        command = [
            *(sys.executable, "-m", "rollout", "api", "--kubeconfig", str(kubeconfig), "--listen", f"127.0.0.1:{port}"),
            *("--metrics-listen", "", "--log-format", "json", "--policies", str(self._dir / "none")),
        ]
        self._child = Child.spawn("api", command, log=log)

        async def serves() -> bool:
            return b'"api.started"' in log.read_bytes()

        await self._child.ready(serves, _STARTS_S)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._child is not None:
            await self._child.stop()

    async def account(self, name: str, namespace: str, *, role: str | None) -> Path:
        """Make an account that may what `role` (a ClusterRole) says in its namespace; a file with its token for us."""
        metadata = {"name": name, "namespace": namespace}
        await self._arena.cluster.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
        if role is not None:
            rbac = "rbac.authorization.k8s.io"
            await self._arena.cluster.apply(
                {
                    "apiVersion": f"{rbac}/v1",
                    "kind": "RoleBinding",
                    "metadata": metadata,
                    "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
                    "subjects": [{"kind": "ServiceAccount", **metadata}],
                }
            )
        file = self._dir / f"{namespace}-{name}.token"
        file.write_text(await self._token(name, namespace, audience="rollout"))
        file.chmod(0o600)
        return file

    async def command(self, token: Path, namespace: str, *words: str) -> Said:
        """`rollout` with this token, as a pipeline without a kubeconfig types it."""
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(self._dir), "ROLLOUT_SERVER": self.url}
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "rollout", "--token-file", str(token), "-n", namespace, *words),
            env=environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        assert child.returncode is not None
        return Said(child.returncode, out.decode(), err.decode())

    async def _token(self, name: str, namespace: str, audience: str | None) -> str:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        spec: JsonObject = {"expirationSeconds": _TOKEN_S} | ({"audiences": [audience]} if audience else {})
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self._arena.cluster.create(path, body)
        token: str = answer["status"]["token"]
        return token
