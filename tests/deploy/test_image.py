"""The Dockerfile, tried without a container engine: its own commands, in a folder of what it copies and no more."""

import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollout import __version__
from tests.deploy.cluster import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
_RUN, _COPY = "RUN ", "COPY "


def _instructions() -> list[str]:
    """One line each, without comments."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def _stages() -> tuple[list[str], list[str]]:
    """The stage that builds and the one that is shipped."""
    lines = _instructions()
    starts = [place for place, line in enumerate(lines) if line.startswith("FROM ")]
    assert len(starts) == 2
    return lines[starts[0] : starts[1]], lines[starts[1] :]


def _environment(stage: list[str]) -> dict[str, str]:
    pairs = [shlex.split(line.removeprefix("ENV ")) for line in stage if line.startswith("ENV ")]
    return dict(pair.split("=", 1) for group in pairs for pair in group)


def _ignored(path: str) -> bool:
    """Whether .dockerignore keeps it out: the last line that matches decides (docs.docker.com, dockerignore)."""
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keep, pattern = pattern.startswith("!"), pattern.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        deep = line.strip().startswith("**/")
        named = parts if deep else ["/".join(parts[:length]) for length in range(1, len(parts) + 1)]
        if any(fnmatch.fnmatchcase(one, pattern) for one in named):
            out = not keep
    return out


def _uv() -> str:
    """The uv of the Makefile, which is the one of the Dockerfile (tests/test_deploy.py)."""
    (version,) = re.findall(r"uv==(\S+)", DOCKERFILE)
    own = Path(os.environ.get("CACHE") or Path.home() / ".cache" / "rollout") / f"uv-{version}" / "bin" / "uv"
    found = str(own) if own.exists() else shutil.which("uv")
    if found is None:
        pytest.skip("uv builds what the image holds: `make venv` installs it")
    return found


@dataclass(frozen=True)
class Built:
    """What the first stage leaves to the second."""

    prefix: Path
    home: Path

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """As the image's entry point does, in its environment and nothing else."""
        environment = _environment(_stages()[1]) | {"PATH": f"{self.prefix}/bin", "HOME": str(self.home)}
        argv = [str(self.prefix / "bin" / arguments[0]), *arguments[1:]]
        return subprocess.run(
            argv, env=environment, cwd=self.home, capture_output=True, check=True, timeout=60, text=True
        )

    def files(self) -> Iterator[str]:
        """What is installed, relative to the folder of the packages."""
        (packages,) = self.prefix.glob("lib/python*/site-packages")
        yield from (str(path.relative_to(packages)) for path in packages.rglob("*"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    uv, folder = _uv(), tmp_path_factory.mktemp("image")
    build, _ = _stages()
    workdir, prefix, home = folder / "src", folder / "opt", folder / "home"
    workdir.mkdir()
    home.mkdir()
    environment = _environment(build) | {"UV_PROJECT_ENVIRONMENT": str(prefix), "UV_PYTHON": sys.executable}
    own = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "VIRTUAL_ENV"))}
    for line in build:
        if line.startswith(_COPY):
            *sources, _ = line.removeprefix(_COPY).split()
            for source in sources:
                _copy(source, workdir)
        elif line.startswith(f"{_RUN}uv "):
            # Not with --no-cache: what is downloaded is the same, but not every time.
            arguments = [one for one in line.removeprefix(f"{_RUN}uv ").split() if one != "--no-cache"]
            subprocess.run(
                [uv, *arguments], cwd=workdir, env=own | environment, capture_output=True, check=True, timeout=300
            )
    shutil.rmtree(workdir)
    return Built(prefix, home)


def _copy(source: str, workdir: Path) -> None:
    """As COPY does: what .dockerignore leaves."""
    found = [ROOT / source, *((ROOT / source).rglob("*") if (ROOT / source).is_dir() else ())]
    for path in found:
        name = str(path.relative_to(ROOT))
        if path.is_file() and not _ignored(name):
            (workdir / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, workdir / name)


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint reads the Dockerfile: `make venv` installs it")
    said = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, check=False, timeout=60, text=True)
    assert not said.stdout
    assert said.returncode == 0


def test_the_image_starts_and_says_who_it_is(built: Built) -> None:
    assert built.run("rollout", "version").stdout.split()[-1] == __version__


def test_the_image_can_do_what_the_deployment_asks_of_it(built: Built) -> None:
    (entry_point,) = [line for line in _stages()[1] if line.startswith("ENTRYPOINT ")]
    (command,) = [line for line in _stages()[1] if line.startswith("CMD ")]
    assert (entry_point, command) == ('ENTRYPOINT ["rollout"]', 'CMD ["serve"]')
    assert "--policies" in built.run("rollout", "serve", "--help").stdout
    # What `serve` imports only when it runs.
    built.run("python", "-c", "import rollout.assembly, rollout.api.observability, kubernetes.aio.client, uvicorn")


def test_the_image_holds_the_package_with_its_bytecode_and_nothing_for_tests(built: Built) -> None:
    files = set(built.files())
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "rollout").rglob("*") if path.is_file()}
    shipped = {path for path in sources if "__pycache__" not in path}
    assert shipped <= files
    assert any(path.startswith("rollout/core/__pycache__/decide.") for path in files)
    top = {path.split("/")[0] for path in files}
    assert not top & {"pytest", "mypy", "ruff", "hypothesis", "envoy", "tests", "config", "deploy"}


def test_the_package_does_not_point_back_into_the_folder_it_was_built_from(built: Built) -> None:
    where = built.run("python", "-c", "import rollout; print(rollout.__file__)").stdout.strip()
    assert Path(where).is_relative_to(built.prefix)
    assert not [path for path in built.files() if path.endswith(".pth") and "rollout" in path]
