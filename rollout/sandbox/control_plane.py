"""A real Kubernetes API: etcd, kube-apiserver and kube-controller-manager as child processes on 127.0.0.1.

Belongs here: finding the programs, their arguments, their life, the credentials they accept. Does not belong here:
nodes and a scheduler (there are none: no Pod runs), reading the audit log (`audit.py`), what is done with the API.
"""

import asyncio
import base64
import json
import os
import re
import secrets
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2

from rollout.sandbox.audit import POLICY, AuditEntry, read_audit
from rollout.sandbox.processes import Child, ChildFailedError

__all__ = ["Assets", "AuditEntry", "ControlPlane", "KubernetesMissingError", "find_assets"]

_PROGRAMS: Final = ("etcd", "kube-apiserver", "kube-controller-manager")
_ISTIO_CRDS: Final = "istio-crds.yaml"
_HOST: Final = "127.0.0.1"
# 3 s on an idle machine; a busy one with two cores was seen to take 40.
_READY_SECONDS: Final = 120.0
_OUTAGE_GRACE: Final = 2.0
_ATTEMPTS: Final = 3
_POLL_SECONDS: Final = 0.02
_DOCUMENT_END: Final = re.compile(r"^---.*$", re.MULTILINE)
_CRD_NAME: Final = re.compile(r"^  name: [\"']?([a-z0-9.-]+)", re.MULTILINE)
_ADMIN: Final = "sandbox-admin"
_MANAGER: Final = "system:kube-controller-manager"
# What people rely on and what our tests need. No node, volume or certificate ever exists here.
_CONTROLLERS: Final = (
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "serviceaccount-controller",
    "validatingadmissionpolicy-status-controller",
)


class KubernetesMissingError(RuntimeError):
    """The programs are not on this machine; the message says which, and the one command that brings them."""


@dataclass(frozen=True, slots=True)
class Assets:
    """What `make kubernetes` makes: three programs and Istio's CRDs."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    istio_crds: Path


def find_assets() -> Assets:
    """Look in $KUBEBUILDER_ASSETS, then in the newest `kubernetes-*` directory of the cache.

    The cache is $ROLLOUT_CACHE, or `~/.cache/rollout`. Istio's CRDs are in the cache in both cases.

    Raises:
        KubernetesMissingError: something is missing.
    """
    cache = Path(os.environ.get("ROLLOUT_CACHE") or Path.home() / ".cache" / "rollout")
    built = sorted(cache.glob("kubernetes-v*"), key=_version, reverse=True)
    given = os.environ.get("KUBEBUILDER_ASSETS")
    # envtest's archives hold no kube-controller-manager: then only what was built here will do.
    if given and not any((Path(given) / name).is_file() for name in _PROGRAMS):
        raise KubernetesMissingError(f"KUBEBUILDER_ASSETS={given} holds none of {', '.join(_PROGRAMS)}")
    places = [Path(given), *built] if given else built
    for programs in places:
        for crds in (directory / _ISTIO_CRDS for directory in places):
            parts = [*(programs / name for name in _PROGRAMS), crds]
            if all(part.is_file() for part in parts):
                return Assets(*parts)
    where = f"in {given} (KUBEBUILDER_ASSETS) and {cache}" if given else f"in {cache}"
    wanted = ", ".join(_PROGRAMS)
    raise KubernetesMissingError(
        f"no {wanted} and {_ISTIO_CRDS} {where}: run `make kubernetes` (it needs Go), or set KUBEBUILDER_ASSETS"
    )


def _version(directory: Path) -> tuple[int, ...]:
    """Of `kubernetes-v1.34.4`, for sorting; anything else comes last."""
    parts = directory.name.removeprefix("kubernetes-v").split(".")
    return tuple(int(part) for part in parts) if all(part.isdecimal() for part in parts) else ()


class ControlPlane:
    """One Kubernetes API of its own, with RBAC, the default admission plugins and an audit log.

    Args:
        run_dir: for data, certificates, credentials and logs; must exist and be empty.
        assets: the programs; looked for if not given.

    Attributes:
        token: of a user in `system:masters`; random per run.
        audit_log: where kube-apiserver writes what was asked of it, each request as it ends.

    Raises:
        KubernetesMissingError: no assets were given and none are found.
    """

    def __init__(self, run_dir: Path, assets: Assets | None = None) -> None:
        self._assets = assets or find_assets()
        self._dir = run_dir
        self._port = 0
        self._etcd_url = ""
        self._ca = ""
        self._etcd: Child | None = None
        self._apiserver: Child | None = None
        self._manager: Child | None = None
        self._manager_token = secrets.token_urlsafe()
        self.token = secrets.token_urlsafe()
        self.audit_log = run_dir / "audit.jsonl"

    @property
    def assets(self) -> Assets:
        """The programs it runs, and Istio's CRDs."""
        return self._assets

    @property
    def url(self) -> str:
        """`https://127.0.0.1:port`; the same before and after an outage."""
        assert self._port, "the control plane was never started"
        return f"https://{_HOST}:{self._port}"

    @property
    def ca(self) -> str:
        """The certificates to trust, as PEM."""
        assert self._ca, "the control plane was never started"
        return self._ca

    @property
    def children(self) -> list[Child]:
        """The processes that were started and not stopped."""
        return [child for child in (self._etcd, self._apiserver, self._manager) if child is not None]

    def client(self, token: str | None = None) -> httpx2.AsyncClient:
        """A plain HTTP client of the API.

        Args:
            token: of somebody else than the administrator.
        """
        trust = ssl.create_default_context(cadata=self.ca)
        headers = {"authorization": f"Bearer {token or self.token}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=10, verify=trust, trust_env=False)

    async def start(self, port: int = 0) -> None:
        """Start everything, and wait until the API is ready and its controllers work.

        Args:
            port: of the API; 0 for a free one.

        Raises:
            ChildFailedError: a program ended, or was not ready in time.
        """
        self._write_configuration()
        try:
            await self._start_etcd()
            await self._start_on(port)
            self._launch_manager()
            assert self._manager is not None
            async with self.client() as http:
                await self._manager.ready(lambda: _controllers_work(http), _READY_SECONDS)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End everything; nothing if it does not run. What was stored is thrown away by whoever owns `run_dir`."""
        manager, self._manager = self._manager, None
        apiserver, self._apiserver = self._apiserver, None
        etcd, self._etcd = self._etcd, None
        for child in (manager, apiserver, etcd):
            if child is not None:
                # Nothing here is worth a graceful end, and kube-apiserver takes its time for one.
                await child.stop(grace=0)

    async def stop_apiserver(self) -> None:
        """Begin an outage: the API refuses connections, its data stays."""
        child, self._apiserver = self._apiserver, None
        if child is not None:
            await child.stop(_OUTAGE_GRACE)

    async def start_apiserver(self) -> None:
        """End the outage: the same API on the same port; returns when it is ready.

        Raises:
            ChildFailedError: it ended, or was not ready in time.
        """
        assert self._apiserver is None, "kube-apiserver runs already"
        self._apiserver = Child.spawn("kube-apiserver", self._apiserver_argv(), log=self._dir / "kube-apiserver.log")
        await self._apiserver.ready(self._is_ready, _READY_SECONDS)

    async def apply_crds(self, manifests: str) -> None:
        """Apply CRDs server-side, and wait until they are served.

        Args:
            manifests: YAML documents, all of them CRDs.

        Raises:
            ValueError: a document has no name where a CRD has it.
            httpx2.HTTPStatusError: the API refused one.
            TimeoutError: one was not established in time.
        """
        documents = [text for text in _DOCUMENT_END.split(manifests) if text.strip()]
        async with self.client() as http, asyncio.timeout(_READY_SECONDS):
            waiting = set(await asyncio.gather(*(_apply_crd(http, text) for text in documents)))
            while waiting := {path for path in waiting if not await _is_served(http, path)}:  # noqa: ASYNC110 - another process serves them
                await asyncio.sleep(_POLL_SECONDS)

    def write_kubeconfig(self, path: Path, namespace: str, token: str | None = None) -> None:
        """Write a kubeconfig file that only its owner may read.

        Args:
            path: the file; replaced if it exists.
            namespace: of its context.
            token: of somebody else than the administrator.
        """
        config = _kubeconfig(self.url, self.ca, namespace, token or self.token)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(config))
        temporary.rename(path)

    def audit(self) -> list[AuditEntry]:
        """What was asked of the API so far, in the order in which it was answered."""
        return read_audit(self.audit_log)

    def _write_configuration(self) -> None:
        self._file("audit-policy.json").write_text(json.dumps(POLICY))
        # kube-apiserver k8s.io/apiserver/pkg/authentication/token/tokenfile: token,user,uid,"group,group".
        users = f'{self.token},{_ADMIN},0,"system:masters"\n{self._manager_token},{_MANAGER},1,"system:masters"\n'
        credentials = self._file("tokens.csv")
        credentials.touch(mode=0o600)
        credentials.write_text(users)

    def _file(self, name: str) -> Path:
        return self._dir / name

    async def _start_etcd(self) -> None:
        argv: list[str | Path] = [
            self._assets.etcd,
            f"--data-dir={self._file('etcd')}",
            f"--listen-client-urls=http://{_HOST}:0",
            f"--advertise-client-urls=http://{_HOST}:0",
            f"--listen-peer-urls=http://{_HOST}:0",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]
        self._etcd = Child.spawn("etcd", argv, log=self._file("etcd.log"))
        await self._etcd.ready(self._etcd_is_ready, _READY_SECONDS)

    async def _etcd_is_ready(self) -> bool:
        assert self._etcd is not None
        async with httpx2.AsyncClient(timeout=1, verify=False, trust_env=False) as http:
            # One of its two ports is for other members of the cluster and knows no /health.
            for port in self._etcd.listens_on():
                url = f"http://{_HOST}:{port}"
                try:
                    if (await http.get(f"{url}/health")).is_success:
                        self._etcd_url = url
                        return True
                except httpx2.HTTPError:
                    continue
        return False

    async def _start_on(self, port: int) -> None:
        """Start kube-apiserver, which cannot choose a port by itself: a chosen one may be gone before it listens."""
        for attempt in range(1, _ATTEMPTS + 1):
            self._port = port or _free_port()
            try:
                await self.start_apiserver()
                return
            except ChildFailedError:
                taken = self._apiserver is not None and "address already in use" in self._apiserver.tail()
                if port or not taken or attempt == _ATTEMPTS:
                    raise
                self._apiserver = None

    def _apiserver_argv(self) -> list[str | Path]:
        certificates = self._file("certificates")
        # kube-apiserver makes it, with a certificate for the address below; a key of RSA may also sign tokens.
        key = certificates / "apiserver.key"
        return [
            self._assets.apiserver,
            f"--etcd-servers={self._etcd_url}",
            f"--secure-port={self._port}",
            f"--bind-address={_HOST}",
            f"--advertise-address={_HOST}",
            # A loopback address may not be an endpoint of the Service `kubernetes`.
            "--endpoint-reconciler-type=none",
            f"--cert-dir={certificates}",
            "--service-cluster-ip-range=10.0.0.0/16",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self._file('tokens.csv')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--audit-policy-file={self._file('audit-policy.json')}",
            f"--audit-log-path={self.audit_log}",
            "--audit-log-mode=blocking",
            "--audit-log-maxsize=100000",
            "--profiling=false",
            "--v=0",
        ]

    async def _is_ready(self) -> bool:
        certificate = self._file("certificates") / "apiserver.crt"
        if not certificate.exists() or not (text := certificate.read_text()).endswith("-----END CERTIFICATE-----\n"):
            return False
        self._ca = text
        try:
            async with self.client() as http:
                return bool((await http.get("/readyz")).is_success)
        except httpx2.HTTPError:
            return False

    def _launch_manager(self) -> None:
        kubeconfig = self._file("controller-manager.kubeconfig")
        self.write_kubeconfig(kubeconfig, "default", self._manager_token)
        argv: list[str | Path] = [
            self._assets.controller_manager,
            f"--kubeconfig={kubeconfig}",
            f"--controllers={','.join(_CONTROLLERS)}",
            "--leader-elect=false",
            "--secure-port=0",
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--v=0",
        ]
        log = self._file("kube-controller-manager.log")
        self._manager = Child.spawn("kube-controller-manager", argv, log=log)


async def _apply_crd(http: httpx2.AsyncClient, text: str) -> str:
    """Send one document as it is, which spares parsing it; returns the path its objects will have."""
    name = _CRD_NAME.search(text)
    if name is None:
        raise ValueError(f"not a CustomResourceDefinition: {text[:80]!r}")
    answer = await http.patch(
        f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name[1]}",
        params={"fieldManager": "sandbox", "force": "true"},
        content=text.encode(),
        headers={"content-type": "application/apply-patch+yaml"},
    )
    answer.raise_for_status()
    spec = answer.json()["spec"]
    versions = [version["name"] for version in spec["versions"] if version["served"]]
    return f"/apis/{spec['group']}/{versions[-1]}/{spec['names']['plural']}"


async def _is_served(http: httpx2.AsyncClient, path: str) -> bool:
    # What counts is that requests are answered: the condition Established comes a moment earlier.
    return bool((await http.get(path, params={"limit": "1"})).is_success)


async def _controllers_work(http: httpx2.AsyncClient) -> bool:
    """Whether the first one has done its first work; the others start with it."""
    try:
        answer = await http.get("/api/v1/namespaces/default/serviceaccounts/default")
    except httpx2.HTTPError:
        return False
    return bool(answer.is_success)


def _kubeconfig(url: str, ca: str, namespace: str, token: str) -> dict[str, Any]:
    cluster = {"server": url, "certificate-authority-data": base64.b64encode(ca.encode()).decode()}
    context = {"cluster": "sandbox", "user": "sandbox", "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": cluster}],
        "users": [{"name": "sandbox", "user": {"token": token}}],
        "contexts": [{"name": "sandbox", "context": context}],
        "current-context": "sandbox",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
