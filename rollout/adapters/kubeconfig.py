"""Which cluster we talk to and as whom: a kubeconfig file, or the service account of the pod we run in.

Belongs here: finding and reading credentials, and renewing them. Does not belong here: any request (`cluster.py`).
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.incluster_config import InClusterConfigLoader
from kubernetes.aio.config.kube_config import load_kube_config

from rollout.ports import Refused

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PLUGIN_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Access:
    """Credentials that were read.

    Attributes:
        configuration: the vendor's `Configuration`: host, TLS, token.
        namespace: default namespace of the context, or the pod's own.
        renew: reads the credentials again, after a 401; short-lived tokens of exec plugins need it.
    """

    configuration: Any
    namespace: str
    renew: Callable[[], Awaitable[None]]


async def find_access(kubeconfig: Path | None, context: str | None) -> Access:
    """Look where kubectl looks: the file named, else $KUBECONFIG, else ~/.kube/config, else the pod's service account.

    Raises:
        Refused: nothing usable there; says where it looked.
    """
    paths = _files(kubeconfig, context)
    return _from_pod() if paths is None else await _from_file(paths, context)


def _files(kubeconfig: Path | None, context: str | None) -> str | None:
    """The kubeconfig files to merge, joined as in $KUBECONFIG; None for the pod's service account."""
    named = str(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG", "")
    if named:
        paths = [Path(part).expanduser() for part in named.split(os.pathsep) if part]
        if not any(path.is_file() for path in paths):
            origin = "" if kubeconfig is not None else " (from $KUBECONFIG)"
            raise Refused(f"there is no kubeconfig file {named}{origin}")
        return named
    usual = Path("~/.kube/config").expanduser()
    if usual.is_file():
        return str(usual)
    if context is not None:
        raise Refused(f"there is no kubeconfig to find the context {context} in: neither $KUBECONFIG nor {usual}")
    if "KUBERNETES_SERVICE_HOST" not in os.environ:
        raise Refused(f"no Kubernetes cluster is configured: neither --kubeconfig, $KUBECONFIG nor {usual}, nor a pod")
    return None


def _configuration() -> Any:
    configuration = Configuration()
    # Python 3.13 refuses CA certificates without an Authority Key Identifier, which many clusters have and kubectl
    # accepts (kubernetes-client/python#2394).
    configuration.disable_strict_ssl_verification = True
    return configuration


async def _from_file(paths: str, context: str | None) -> Access:
    configuration = _configuration()
    try:
        async with asyncio.timeout(_PLUGIN_SECONDS):
            loader = await load_kube_config(
                config_file=paths, context=context, client_configuration=configuration, persist_config=False
            )
        chosen = loader.current_context["context"]
        namespace = str(chosen.get("namespace") or "default")
    except Exception as error:
        # The vendor's loader raises whatever a malformed file makes it stumble over.
        raise Refused(f"the kubeconfig {paths} cannot be used: {str(error) or type(error).__name__}") from error
    if not configuration.host:
        raise Refused(f"the kubeconfig {paths} names no server")

    async def renew() -> None:
        async with asyncio.timeout(_PLUGIN_SECONDS):
            await loader.load_and_set(configuration)

    return Access(configuration, namespace, renew)


def _from_pod() -> Access:
    configuration = _configuration()
    loader = InClusterConfigLoader(
        token_filename=str(_SERVICE_ACCOUNT / "token"), cert_filename=str(_SERVICE_ACCOUNT / "ca.crt")
    )
    try:
        # Sets a hook that reads the token file anew every minute, as the kubelet rotates it.
        loader.load_and_set(configuration)
    except Exception as error:
        raise Refused(f"the service account of this pod cannot be used: {error}") from error
    own = _SERVICE_ACCOUNT / "namespace"
    namespace = own.read_text().strip() if own.is_file() else "default"

    async def renew() -> None:
        loader.load_and_set(configuration)

    return Access(configuration, namespace, renew)
