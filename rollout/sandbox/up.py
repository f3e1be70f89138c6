"""`rollout sandbox up`: the demo's world, kept running to play with; `rollout sandbox set`, which turns its knobs."""

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

import httpx2

from rollout.sandbox.api_servers import Real
from rollout.sandbox.cluster_client import ClusterClient, ClusterError
from rollout.sandbox.controller import ControllerProcess
from rollout.sandbox.knobs import KnobError, annotations
from rollout.sandbox.shop import NAMESPACE, SERVICE, deployment, deployment_name
from rollout.sandbox.story import RATE, SLOW, prepare
from rollout.sandbox.world import World

_VERSIONS = ("v2", "v3", "v4")
_CONFIG = "kubeconfig"


def run_directory() -> Path:
    """Where a running sandbox is found by `sandbox set`: one per user and machine."""
    return Path(os.environ.get("ROLLOUT_SANDBOX", Path(tempfile.gettempdir()) / f"rollout-sandbox-{os.getuid()}"))


def up(rate: int = RATE, *, kubernetes: bool = False) -> int:
    """Run the sandbox until Ctrl-C; 0 after an orderly end, 2 if one is running already.

    Args:
        rate: requests per second.
        kubernetes: on a real control plane.

    Raises:
        KubernetesMissingError, PrometheusMissingError: a program is not on this machine.
    """
    return asyncio.run(_up(rate, kubernetes=kubernetes))


async def _up(rate: int, *, kubernetes: bool) -> int:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    directory = run_directory()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = directory / "pid"
    if _runs(lock):
        sys.stderr.write(f"rollout: a sandbox runs already (pid {lock.read_text()}); its files are in {directory}\n")
        return 2
    lock.write_text(str(os.getpid()))
    try:
        async with World(directory, rate=rate, kubernetes=kubernetes) as world:
            assert world.kubeconfig == directory / _CONFIG
            await prepare(world)
            for version in _VERSIONS:
                await world.apply(deployment(SERVICE, version, slow=SLOW))
            async with ControllerProcess(world) as controller:
                sys.stdout.write(_welcome(world, controller.log))
                sys.stdout.flush()
                await stop.wait()
    finally:
        lock.unlink(missing_ok=True)
    sys.stderr.write("stopped; nothing is left running\n")
    return 0


def _runs(lock: Path) -> bool:
    try:
        os.kill(int(lock.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def _welcome(world: World, log: Path) -> str:
    config = world.kubeconfig
    # The embedded API has Deployments and no Pods.
    kinds = "deploy,pods" if isinstance(world.kubernetes, Real) else "deploy"
    identity = f"   (as {world.controller_is})" if world.controller_is else ""
    return f"""\
The sandbox is up: service {SERVICE} in namespace {NAMESPACE}, v1 stable; {", ".join(_VERSIONS)} are deployed and ready.

  kubeconfig   {config}
  Kubernetes   {world.kubernetes_url}
  Prometheus   {world.prometheus_url}
  Envoy        {world.envoy_url}   (admin {world.envoy_admin_url})
  controller   {log}{identity}

Try:
  export KUBECONFIG={config} PATH={Path(sys.executable).parent}:$PATH
  rollout start {SERVICE} --version v2 --wait
  kubectl get rel,vs,{kinds}
  rollout sandbox set {SERVICE} v3 --errors 5% && rollout start {SERVICE} --version v3 --wait

Ctrl-C stops everything.
"""


def set_knobs(
    service: str,
    version: str,
    *,
    errors: str | None = None,
    slow: str | None = None,
    latency: str | None = None,
    ready: str | None = None,
) -> int:
    """Change how a running version behaves; 0, or 2 with a message if a value is wrong or no sandbox runs."""
    directory = run_directory()
    if not _runs(directory / "pid"):
        sys.stderr.write("rollout: no sandbox runs here; start one with `rollout sandbox up`\n")
        return 2
    try:
        wanted = annotations(errors=errors, slow=slow, latency=latency, ready=ready)
    except KnobError as error:
        sys.stderr.write(f"rollout: {error}\n")
        return 2
    return asyncio.run(_set(directory, deployment_name(service, version), wanted))


async def _set(directory: Path, name: str, wanted: dict[str, str]) -> int:
    metadata = {"name": name, "namespace": NAMESPACE, "annotations": wanted}
    try:
        cluster = ClusterClient.of_kubeconfig(directory / _CONFIG)
        try:
            await cluster.merge({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})
        finally:
            await cluster.close()
    except (OSError, httpx2.TransportError) as error:
        sys.stderr.write(f"rollout: the sandbox is not up yet: {error}\n")
        return 2
    except ClusterError as error:
        sys.stderr.write(f"rollout: Deployment {name} in namespace {NAMESPACE}: {error}\n")
        return 2
    shown = ", ".join(f"{key.rpartition('/')[2]}={value}" for key, value in wanted.items())
    sys.stdout.write(f"{name}: {shown}\n")
    return 0
