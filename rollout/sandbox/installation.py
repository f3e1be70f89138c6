"""What a platform team does on a new cluster before the first release: an account for the controller, with its rights.

Belongs here: the controller's ServiceAccount as deploy/ makes it, and a token. Does not belong here: starting a control
plane (`control_plane.py`), the demo's objects (`shop.py`).
"""

from pathlib import Path
from typing import Final

from ruamel.yaml import YAML

from rollout.sandbox.cluster_client import ClusterClient

CONTROLLER: Final = "rollout"
"""The controller's namespace and the name of its ServiceAccount."""

_TOKEN_SECONDS: Final = 30 * 24 * 3600
_PACKAGE: Final = Path(__file__).resolve().parents[1]
_MANIFESTS: Final = (_PACKAGE / "deploy", _PACKAGE.parent / "deploy")
"""Where deploy/ is: in an installed package, in a checkout."""
_FILES: Final = (
    "base/namespace.yaml",
    "base/serviceaccount.yaml",
    "base/lease-role.yaml",
    "rights/rbac.yaml",
    "base/admission.yaml",
)
"""The parts of the cluster-wide overlay that are about the account; they say everything without the kustomization."""


def account_manifests() -> list[Path]:
    """The files that make the controller's account and give it its rights; none if deploy/ is not at hand."""
    for place in _MANIFESTS:
        files = [place / name for name in _FILES]
        if all(file.is_file() for file in files):
            return files
    return []


async def controller_token(cluster: ClusterClient) -> str | None:
    """Make the controller's account as deploy/ does, and a token for it; None if deploy/ is not at hand.

    Raises:
        ClusterError: the server refuses something.
    """
    manifests = account_manifests()
    for manifest in manifests:
        for obj in YAML(typ="safe", pure=True).load_all(manifest.read_text()):
            await cluster.apply(obj)
    if not manifests:
        return None
    path = f"/api/v1/namespaces/{CONTROLLER}/serviceaccounts/{CONTROLLER}/token"
    kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
    answer = await cluster.create(path, {**kind, "spec": {"expirationSeconds": _TOKEN_SECONDS}})
    token: str = answer["status"]["token"]
    return token
