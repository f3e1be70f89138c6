"""The console script: parse, run, and turn however it ended into an exit code and a line on stderr."""

import io
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from rollout.cli import sandbox, verbs
from rollout.cli.exits import ExitCode, Stop
from rollout.cli.session import Session, Surroundings
from rollout.cli.terminal import complain

verbs.app.add_typer(sandbox.app)


def main() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that cannot show a bar shows `?`
            stream.reconfigure(errors="replace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str], surroundings: Surroundings | None = None) -> int:
    """Run one command; the exit code. Never raises."""
    session = Session(surroundings or Surroundings())
    try:
        return _run(arguments, session)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception:  # noqa: BLE001 - the last line of defence: a bug is told as one
        traceback.print_exc()
        complain("this is a bug in rollout: please report the lines above and the command")
        return ExitCode.BUG


def _run(arguments: Sequence[str], session: Session) -> int:
    command, path, rest = _command(arguments)
    bare = isinstance(command, TyperGroup) and not rest
    try:
        ended = command.main(["--help"] if bare else rest, prog_name=path, standalone_mode=False, obj=session)
    except Stop as stop:
        complain(str(stop))
        return stop.code
    except TyperException as error:
        complain(error.format_message())
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "rollout"
        complain(f"`{path} --help` shows how it is used")
        return ExitCode.USAGE
    if bare:
        return ExitCode.USAGE
    return ended if isinstance(ended, int) else ExitCode.OK


def _command(arguments: Sequence[str]) -> tuple[TyperCommand | TyperGroup, str, list[str]]:
    """The verb that is meant, its full name, and its arguments.

    Where no global option stands before the verb the groups above it have nothing to parse, and are left out: typer
    would import pydantic for them, and `--help` would take three times as long.
    """
    command: Any = typer.main.get_command(verbs.app)
    path, rest = "rollout", list(arguments)
    while isinstance(command, TyperGroup) and rest and rest[0] in command.commands:
        name = rest.pop(0)
        command, path = command.commands[name], f"{path} {name}"
        # Not inherited, where the groups above are left out.
        command.context_settings = {**command.context_settings, "help_option_names": ["-h", "--help"]}
    return command, path, rest
