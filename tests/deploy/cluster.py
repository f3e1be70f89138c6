"""A cluster to install into, and who asks it what.

Belongs here: kubectl as the administrator, the controller's token, questions about rights. Does not belong here: what
is installed (`deploy/`), assertions.
"""

import asyncio
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from rollout.sandbox.control_plane import ControlPlane

JsonObject = dict[str, Any]
Operation = Mapping[str, Any]

ROOT = Path(__file__).resolve().parents[2]
CONTROLLER = "system:serviceaccount:rollout:rollout"
API = "system:serviceaccount:rollout:rollout-api"
_CLUSTER_WIDE = {"cluster-wide", "api"}
ISTIO = "/apis/networking.istio.io/v1/namespaces/shop"
RELEASES = "/apis/rollout.dev/v1alpha1/namespaces/shop/releases"
JSON_PATCH = {"content-type": "application/json-patch+json"}
_PATIENCE = 20.0


@dataclass
class Cluster:
    """A real Kubernetes API that knows Istio's kinds."""

    plane: ControlPlane
    kubeconfig: Path
    installed: str = ""
    """The overlay whose rights are in force."""

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """As the administrator; raises CalledProcessError."""
        argv = ["kubectl", "--kubeconfig", self.kubeconfig, *arguments]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, check=True, timeout=60, text=True, input=stdin)

    def apply(self, folder: str | Path) -> str:
        """Apply a kustomization as docs/install.md says, and return the warnings."""
        applied = self.kubectl("apply", "--server-side", "-k", folder)
        return applied.stderr

    async def install(self, overlay: str) -> str:
        """Apply one of `deploy/overlays`, in place of any other, wait for its rights; returns the warnings."""
        if self.installed == overlay:
            return ""
        gone = ["--ignore-not-found", "rollout-controller"]
        self.kubectl("delete", "clusterrolebinding", *gone)
        self.kubectl("delete", "rolebinding", "--namespace=shop", *gone)
        warnings = self.apply(f"deploy/overlays/{overlay}")
        scopes = [question("networking.istio.io", "virtualservices", "list", where) for where in ("", "shop")]
        expected = [overlay in _CLUSTER_WIDE, True]

        async def in_force() -> bool:
            return await self.allowed(scopes) == expected

        await until(in_force)
        self.installed = overlay
        return warnings

    async def token(self, account: str = "rollout", namespace: str = "rollout", audience: str = "") -> str:
        """Of the controller's ServiceAccount, as its pod gets one, or of another account; for an audience."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        spec = {"expirationSeconds": 3600, **({"audiences": [audience]} if audience else {})}
        async with self.plane.client() as http:
            answer = await http.post(path, json={"spec": spec})
        assert answer.status_code == 201, answer.text
        token: str = answer.json()["status"]["token"]
        return token

    async def allowed(self, attributes: Iterable[Mapping[str, str]], user: str = CONTROLLER) -> list[bool]:
        """What a SubjectAccessReview says to each, as an authorizer would be asked for `user`."""
        groups = ["system:authenticated"]
        if user.startswith("system:serviceaccount:"):
            groups += ["system:serviceaccounts", f"system:serviceaccounts:{user.split(':')[2]}"]
        at_once = asyncio.Semaphore(16)
        async with self.plane.client() as http:

            async def ask(one: Mapping[str, str]) -> bool:
                body = {"spec": {"user": user, "groups": groups, "resourceAttributes": dict(one)}}
                async with at_once:
                    answer = await http.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json=body)
                assert answer.status_code == 201, answer.text
                return bool(answer.json()["status"]["allowed"])

            return await asyncio.gather(*(ask(one) for one in attributes))


def question(group: str, resource: str, verb: str, namespace: str, name: str = "") -> dict[str, str]:
    """May `verb` be done to it there? `resource` may name a subresource; namespace "" asks about all of them."""
    plain, _, subresource = resource.partition("/")
    return {
        "group": group,
        "resource": plain,
        "subresource": subresource,
        "verb": verb,
        "namespace": namespace,
        "name": name,
        "version": "*",
    }


async def create(http: httpx2.AsyncClient, path: str, obj: JsonObject) -> JsonObject:
    """POST it; the object as it is stored, its status included where it has one."""
    answer = await http.post(path, json=obj)
    assert answer.status_code == 201, answer.text
    created: JsonObject = answer.json()
    return created


async def patch(
    http: httpx2.AsyncClient, path: str, operations: Sequence[Operation], *, dry: bool = False
) -> httpx2.Response:
    """Send a JSON patch."""
    params = {"dryRun": "All"} if dry else {}
    return await http.patch(path, json=[*operations], headers=JSON_PATCH, params=params)


async def until(fact: Callable[[], Any], seconds: float = _PATIENCE) -> Any:
    """What `fact` (a coroutine function) returns once that is true."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not (found := await fact()):
        assert loop.time() < end, f"not so after {seconds} s"
        await asyncio.sleep(0.1)
    return found
