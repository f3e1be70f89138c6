"""The files that a pipeline reads after `start --wait` and `wait`: JSON, JUnit, dotenv, and GitHub's own.

Belongs here: which files, and when each is written. Does not belong here: what is in them (`outcome.py`, `summary.py`,
`junit.py`, `annotations.py`).

Files of ours are replaced in one piece whenever something was told, so that a process that is killed leaves the last
that it saw. GitHub's files belong to all steps of a job and are appended to: the id at once, the rest at the end.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rollout.cli.exits import ExitCode, Stop
from rollout.cli.terminal import complain

if TYPE_CHECKING:
    from rollout.core.release import Release

_MOST_SUMMARY = 1024 * 1024
"""Bytes of a step's summary; GitHub refuses more ("Job summaries: step isolation and limits")."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where to write to; None for what is not wanted."""

    json: Path | None = None
    junit: Path | None = None
    dotenv: Path | None = None
    output: Path | None = None
    """$GITHUB_OUTPUT."""
    summary: Path | None = None
    """$GITHUB_STEP_SUMMARY."""
    annotated: bool = False
    """Whether a GitHub runner reads what we print."""


def files_of(json: Path | None, junit: Path | None, dotenv: Path | None, environ: Mapping[str, str]) -> Files:
    """The files that were asked for, and those of the runner. A usage error for one that could not be written."""
    for option, path in (("--json", json), ("--junit", junit), ("--dotenv", dotenv)):
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise typer.BadParameter(f"there is no directory {path.absolute().parent} for it", param_hint=option)
    if environ.get("GITHUB_ACTIONS") != "true":
        return Files(json, junit, dotenv)
    output, summary = environ.get("GITHUB_OUTPUT"), environ.get("GITHUB_STEP_SUMMARY")
    return Files(
        json, junit, dotenv, Path(output) if output else None, Path(summary) if summary else None, annotated=True
    )


class Report:
    """What one run of a verb tells the pipeline. A file that cannot be written changes no outcome: it is said."""

    def __init__(self, files: Files, service: str = "", version: str = "") -> None:
        from rollout.cli.outcome import Outcome

        self._files = files
        self._known = Outcome(service=service, version=version)
        self._closed = False
        self._complained: set[str] = set()

    def at(self, namespace: str, address: str) -> None:
        """Where it is asked for."""
        self._known = replace(self._known, namespace=namespace, address=address)

    def saw(self, release: "Release") -> None:
        """The release as it is now."""
        first = self._known.release is None
        spec = release.spec
        self._known = replace(
            self._known, release=release, service=spec.service, version=spec.version, namespace=release.namespace
        )
        if first and self._files.output is not None:
            from rollout.cli.annotations import outputs

            # For a step that cleans up after a cancelled one.
            self._append(self._files.output, outputs({"release_id": release.name}))
        self._replace_ours()

    def ended(self, code: int, message: str = "") -> None:
        """The process is about to exit with this code. Only the first call counts."""
        if self._closed:
            return
        self._closed = True
        self._known = replace(self._known, code=ExitCode(code), message=message)
        self._replace_ours()
        self._append_theirs()

    def around(self, run: Callable[[], ExitCode]) -> ExitCode:
        """Run a verb, and report how it ended, whatever it raises."""
        try:
            code = run()
        except Stop as stop:
            self.ended(stop.code, str(stop))
            raise
        except typer.BadParameter as error:
            self.ended(ExitCode.USAGE, error.message)
            raise
        except KeyboardInterrupt:
            self.ended(ExitCode.INTERRUPTED, "interrupted")
            raise
        except BaseException:
            self.ended(ExitCode.BUG, "a bug in rollout; see the log")
            raise
        self.ended(code)
        return code

    def _replace_ours(self) -> None:
        from rollout.cli.choices import Output
        from rollout.cli.views import encoded

        known, files = self._known, self._files
        if files.json is not None:
            self._replace(files.json, (encoded(known.document(), Output.JSON) + "\n").encode())
        if files.junit is not None:
            from rollout.cli.junit import junit

            self._replace(files.junit, junit(known))
        if files.dotenv is not None:
            lines = [f"ROLLOUT_{name.upper()}={value}\n" for name, value in known.fields().items()]
            self._replace(files.dotenv, "".join(lines).encode())

    def _append_theirs(self) -> None:
        files, known = self._files, self._known
        if files.output is None and files.summary is None and not files.annotated:
            return
        from rollout.cli.annotations import annotations, outputs
        from rollout.cli.summary import markdown

        if files.output is not None:
            self._append(files.output, outputs(known.fields()))
        if files.summary is not None:
            told = markdown(known)
            if len(told.encode()) > _MOST_SUMMARY:
                told = told.partition("\n")[0] + "\n"
            self._append(files.summary, told + "\n")
        if files.annotated:
            for line in annotations(known):
                _order(line)

    def _replace(self, path: Path, content: bytes) -> None:
        try:
            if path.is_symlink() or (path.exists() and not path.is_file()):
                path.write_bytes(content)  # /dev/stdout, a pipe: not ours to replace
                return
            temporary = path.with_name(f".{path.name}.{os.getpid()}")
            temporary.write_bytes(content)
            temporary.replace(path)
        except OSError as error:
            self._complain(f"{path} could not be written: {error.strerror or error}")

    def _append(self, path: Path, text: str) -> None:
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            self._complain(f"{path} could not be written: {error.strerror or error}")

    def _complain(self, said: str) -> None:
        """Once for each: a release is not aborted for want of a file."""
        if said not in self._complained:
            self._complained.add(said)
            complain(said)


def _order(command: str) -> None:
    """A workflow command on stderr, which the runner reads as well; stdout holds the id and nothing else."""
    with contextlib.suppress(BrokenPipeError):
        print(command, file=sys.stderr, flush=True)
