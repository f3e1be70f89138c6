"""The real kubectl is the one witness of this server that we did not write."""

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.contract.kubernetes.client import PATIENCE, Api, config_map, deployment, event, images, virtual_service

_KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(_KUBECTL is None, reason="kubectl is not on PATH")

Kubectl = Callable[..., Awaitable[str]]

_RELEASE = """\
apiVersion: rollout.dev/v1alpha1
kind: Release
metadata:
  name: checkout-v2
  namespace: {namespace}
spec:
  service: checkout
  version: {version}
"""


def _environment(home: Path, api: Api) -> dict[str, str]:
    kubeconfig = home / "kubeconfig"
    api.write_kubeconfig(kubeconfig)
    return {"KUBECONFIG": str(kubeconfig), "HOME": str(home), "PATH": os.environ["PATH"]}


async def _run(environment: dict[str, str], *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    assert _KUBECTL is not None
    process = await asyncio.create_subprocess_exec(
        _KUBECTL,
        "--request-timeout=8s",
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(2 * PATIENCE):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def kubectl(api: Api, tmp_path: Path) -> Kubectl:
    """Run kubectl in the test's namespace; fails the test if kubectl fails."""
    environment = _environment(tmp_path, api)

    async def run(*arguments: str, stdin: str = "") -> str:
        code, out, err = await _run(environment, "-n", api.namespace, *arguments, stdin=stdin)
        assert code == 0, err
        return out

    return run


def _release(api: Api, version: str = "v2") -> str:
    return _RELEASE.format(namespace=api.namespace, version=version)


def _rows(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


async def test_kubectl_applies_changes_and_deletes_a_release(api: Api, kubectl: Kubectl) -> None:
    assert "created" in await kubectl("apply", "-f", "-", stdin=_release(api))
    assert "unchanged" in await kubectl("apply", "-f", "-", stdin=_release(api))
    held = _release(api) + "  pause: {by: me}\n"
    assert "configured" in await kubectl("apply", "-f", "-", stdin=held)
    found = await api.get("releases", "checkout-v2")
    assert found["spec"] == {"service": "checkout", "version": "v2", "pause": {"by": "me"}}
    assert found["metadata"]["generation"] == 2
    await kubectl("delete", "rel", "checkout-v2")
    assert not await api.exists("releases", "checkout-v2")


async def test_kubectl_is_told_that_the_version_of_a_release_stays(api: Api, kubectl: Kubectl, tmp_path: Path) -> None:
    await kubectl("apply", "-f", "-", stdin=_release(api))
    apply = ("-n", api.namespace, "apply", "-f", "-")
    code, _, err = await _run(_environment(tmp_path, api), *apply, stdin=_release(api, "v3"))
    assert code == 1
    assert "spec.version" in err
    assert (await api.get("releases", "checkout-v2"))["spec"]["version"] == "v2"


@pytest.mark.parametrize("spoilt", ["  nonsense: 1\n", "  policy: {steps: [{weight: 50}]}\n", "  pause: soon\n"])
async def test_kubectl_does_not_make_a_release_that_is_wrong(
    api: Api, kubectl: Kubectl, tmp_path: Path, spoilt: str
) -> None:
    apply = ("-n", api.namespace, "apply", "-f", "-")
    code, _, _ = await _run(_environment(tmp_path, api), *apply, stdin=_release(api) + spoilt)
    assert code == 1
    assert "releases" not in await kubectl("get", "rel", "-o", "name")


async def test_kubectl_prints_a_release_as_a_row(api: Api, kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=_release(api))
    status = {"status": {"phase": "Shifting", "weight": 30, "progress": "2/4", "reason": "Settling"}}
    await api.patched("releases", "checkout-v2", status, subresource="status")
    header, row = _rows(await kubectl("get", "rel"))
    assert header == ["NAME", "SERVICE", "VERSION", "PHASE", "WEIGHT", "STEP", "REASON", "AGE"]
    assert row[:7] == ["checkout-v2", "checkout", "v2", "Shifting", "30", "2/4", "Settling"]


async def test_kubectl_gets_several_kinds_at_once(api: Api, kubectl: Kubectl) -> None:
    await api.create("virtualservices", virtual_service("checkout"))
    await api.create("deployments", deployment("checkout-v1", replicas=3))
    await api.create("releases", json.loads(await _as_json(kubectl, _release(api))))
    rows = [row[0] for row in _rows(await kubectl("get", "virtualservice,rel,deploy")) if row]
    assert {
        "virtualservice.networking.istio.io/checkout",
        "release.rollout.dev/checkout-v2",
        "deployment.apps/checkout-v1",
    } < set(rows)


async def _as_json(kubectl: Kubectl, manifest: str) -> str:
    return await kubectl("create", "--dry-run=client", "-o", "json", "-f", "-", stdin=manifest)


async def test_kubectl_prints_deployments_as_usual(embedded_api: Api, tmp_path: Path) -> None:
    # Only here: the controllers of a real server would write another status.
    await embedded_api.create("deployments", deployment("a", replicas=3))
    status = {"status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1}}
    await embedded_api.patched("deployments", "a", status, subresource="status")
    environment = _environment(tmp_path, embedded_api)
    _, out, _ = await _run(environment, "-n", embedded_api.namespace, "get", "deploy")
    header, row = _rows(out)
    assert header == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row[:4] == ["a", "2/3", "3", "1"]


async def test_kubectl_prints_virtual_services_as_usual(api: Api, kubectl: Kubectl) -> None:
    await api.create("virtualservices", virtual_service("b"))
    header, row = _rows(await kubectl("get", "vs"))
    assert header == ["NAME", "GATEWAYS", "HOSTS", "AGE"]
    assert row[:2] == ["b", '["checkout"]']


async def test_kubectl_get_yaml_shows_the_object_without_its_owners(api: Api, kubectl: Kubectl) -> None:
    await api.create("virtualservices", virtual_service("a", 70))
    out = await kubectl("get", "vs", "a", "-o", "yaml")
    assert "weight: 70" in out
    assert "managedFields" not in out
    assert "managedFields" in await kubectl("get", "vs", "a", "-o", "yaml", "--show-managed-fields")


async def test_kubectl_watches(api: Api, tmp_path: Path) -> None:
    assert _KUBECTL is not None
    await api.create("virtualservices", virtual_service("a"))
    arguments = ["get", "vs", "-w", "-o", "jsonpath={.metadata.generation}{'\\n'}", "--request-timeout=20s"]
    process = await asyncio.create_subprocess_exec(
        _KUBECTL,
        "-n",
        api.namespace,
        *arguments,
        env=_environment(tmp_path, api),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(2 * PATIENCE):
            assert await process.stdout.readline() == b"1\n"
            await api.patched("virtualservices", "a", {"spec": virtual_service("a", 10)["spec"]})
            assert await process.stdout.readline() == b"2\n"
    finally:
        process.terminate()
        await process.communicate()


async def test_kubectl_describes_a_release_with_its_events(api: Api, kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=_release(api))
    release = await api.get("releases", "checkout-v2")
    told = event("checkout-v2.1", api.namespace, "checkout-v2")
    told["involvedObject"] |= {
        "kind": "Release",
        "apiVersion": "rollout.dev/v1alpha1",
        "uid": release["metadata"]["uid"],
    }
    await api.create("events", told)
    out = await kubectl("describe", "rel", "checkout-v2")
    assert "Service:  checkout" in out
    assert "30 percent" in out


async def test_kubectl_patches_labels_and_annotates(api: Api, kubectl: Kubectl) -> None:
    await api.create("virtualservices", virtual_service("a", 90))
    weight = "/spec/http/0/route/0/weight"
    operations = [{"op": "test", "path": weight, "value": 90}, {"op": "replace", "path": weight, "value": 60}]
    await kubectl("patch", "vs", "a", "--type=json", "-p", json.dumps(operations))
    await kubectl("annotate", "vs", "a", "x=1")
    await kubectl("label", "vs", "a", "y=2")
    await kubectl("patch", "vs", "a", "--type=merge", "-p", '{"spec": {"gateways": ["mesh"]}}')
    found = await api.get("virtualservices", "a")
    assert found["spec"]["http"][0]["route"][0]["weight"] == 60
    assert found["spec"]["gateways"] == ["mesh"]
    assert found["metadata"]["annotations"]["x"] == "1"
    assert found["metadata"]["labels"] == {"y": "2"}


async def test_kubectl_patches_a_status(api: Api, kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=_release(api))
    body = '{"status": {"phase": "Shifting"}}'
    await kubectl("patch", "rel", "checkout-v2", "--subresource=status", "--type=merge", "-p", body)
    await kubectl("wait", "rel/checkout-v2", "--for=jsonpath={.status.phase}=Shifting", "--timeout=5s")
    assert (await api.get("releases", "checkout-v2"))["status"] == {"phase": "Shifting"}


async def test_kubectl_selects_by_label_and_field(api: Api, kubectl: Kubectl) -> None:
    for name, track in (("a", "stable"), ("b", "canary")):
        await api.create("configmaps", config_map(name, labels={"track": track}))
    assert await kubectl("get", "cm", "-l", "track in (canary)", "-o", "name") == "configmap/b\n"
    assert await kubectl("get", "cm", "--field-selector", "metadata.name=a", "-o", "name") == "configmap/a\n"


async def test_kubectl_works_a_deployment(api: Api, kubectl: Kubectl) -> None:
    manifest = json.dumps(deployment("a"))
    await kubectl("apply", "-f", "-", stdin=manifest)
    await kubectl("set", "image", "deploy/a", "app=app:2")
    await kubectl("scale", "deploy/a", "--replicas=5")
    await kubectl("rollout", "restart", "deploy/a")
    found = await api.get("deployments", "a")
    assert dict(images(found)) == {"app": "app:2", "side": "side:1"}
    assert found["spec"]["replicas"] == 5
    assert "kubectl.kubernetes.io/restartedAt" in found["spec"]["template"]["metadata"]["annotations"]
    await kubectl("apply", "-f", "-", stdin=manifest)
    assert dict(images(await api.get("deployments", "a"))) == {"app": "app:1", "side": "side:1"}


async def test_kubectl_applies_on_the_server_and_meets_a_conflict(api: Api, kubectl: Kubectl, tmp_path: Path) -> None:
    manifest = json.dumps(virtual_service("a", 100))
    await kubectl("apply", "--server-side", "-f", "-", stdin=manifest)
    shift = {"spec": virtual_service("a", 90)["spec"]}
    await api.patched("virtualservices", "a", shift, fieldManager="rollout")
    apply = ("-n", api.namespace, "apply", "--server-side", "-f", "-")
    code, _, err = await _run(_environment(tmp_path, api), *apply, stdin=manifest)
    assert code != 0
    assert ".spec.http" in err
    await kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)
    found = await api.get("virtualservices", "a")
    assert found["spec"]["http"][0]["route"][0]["weight"] == 100


async def test_a_dry_run_of_kubectl_changes_nothing(api: Api, kubectl: Kubectl) -> None:
    await kubectl("apply", "--dry-run=server", "-f", "-", stdin=_release(api))
    assert not await api.exists("releases", "checkout-v2")


@pytest.mark.parametrize("kind", ["rel", "release.spec", "vs", "deploy"])
async def test_kubectl_explains(kubectl: Kubectl, kind: str) -> None:
    assert "DESCRIPTION" in await kubectl("explain", kind)


async def test_kubectl_knows_the_short_names(kubectl: Kubectl) -> None:
    rows = _rows(await kubectl("api-resources", "--no-headers"))
    assert {"rel", "vs", "dr", "deploy"} <= {row[1] for row in rows}


async def test_kubectl_says_not_found_for_what_is_not_there(api: Api, tmp_path: Path) -> None:
    arguments = ("-n", api.namespace, "get", "rel", "nobody")
    code, out, err = await _run(_environment(tmp_path, api), *arguments)
    assert (code, out) == (1, "")
    assert "NotFound" in err
