"""What we install is what was locked: by hash, from the registry alone, and the image installs nothing else.

Known holes are looked up by `pip-audit` where the network allows it; here is what can be known without.
"""

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = "https://pypi.org/simple"
FILES = "https://files.pythonhosted.org/"


def locked() -> list[dict[str, Any]]:
    packages: list[dict[str, Any]] = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]
    return packages


def test_every_package_comes_from_the_registry_with_a_hash_for_every_file() -> None:
    ours = [one for one in locked() if one["source"] == {"editable": "."}]
    assert [one["name"] for one in ours] == ["rollout"]
    for package in locked():
        if package in ours:
            continue
        assert package["source"] == {"registry": REGISTRY}, package["name"]
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert files, package["name"]
        for file in files:
            assert file["hash"].startswith("sha256:"), package["name"]
            assert file["url"].startswith(FILES), package["name"]


def test_no_dependency_is_named_by_an_address() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [project["project"]["dependencies"], *project["project"]["optional-dependencies"].values()]
    groups += project["dependency-groups"].values()
    named = [one for group in groups for one in group]
    assert named
    assert not [one for one in named if "@" in one or "://" in one]
    assert "sources" not in project["tool"]["uv"]


def test_the_image_installs_the_lock_and_nothing_beside_it() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    installs = [one for one in lines if "uv sync" in one or "pip install" in one]
    assert installs
    for line in installs:
        assert "--locked" in line or "uv==" in line, line
    assert [one for one in lines if one.startswith("USER ")] == ["USER 65532:65532"]
