"""What GitHub's runner reads: outputs, and annotations, escaped as its own toolkit does. Pure.

The runner takes any line for a command that begins with `::`, and any that holds `##[` (ActionCommand.cs in
actions/runner), so that nothing of what a person or a service said may reach a log unescaped.
"""

from rollout.cli.exits import ExitCode
from rollout.cli.narrative import is_unproven
from rollout.cli.outcome import Outcome, Result
from rollout.cli.terminal import printable

_LEVELS = {
    Result.SUPERSEDED: "warning",
    Result.RUNNING: "warning",
}
"""All others are errors."""


def outputs(fields: dict[str, str]) -> str:
    """Lines for $GITHUB_OUTPUT; the last line of a name counts. The values are single lines."""
    return "".join(f"{name}={printable(value)}\n" for name, value in fields.items())


def annotations(outcome: Outcome) -> list[str]:
    """The end as a workflow command, and what a person should look at although all went well."""
    level = "notice" if outcome.code is ExitCode.OK else _LEVELS.get(outcome.result, "error")
    named = f"{outcome.service} {outcome.version}".strip() or "rollout"
    lines = [command(level, f"{named}: {outcome.result}", outcome.sentence)]
    if outcome.result is Result.PROMOTED and outcome.release is not None:
        unproven = [step.weight for step in outcome.release.status.steps if is_unproven(step)]
        if unproven:
            weights = ", ".join(f"{weight} %" for weight in unproven)
            lines.append(command("warning", f"{named}: unproven", f"left without proof: {weights}"))
    return lines


def command(level: str, title: str, message: str) -> str:
    """`::error title=...::...`, on one line whatever is in it."""
    return f"::{level} title={_property(printable(title))}::{_data(printable(message))}"


def _data(text: str) -> str:
    """`escapeData` of actions/toolkit, packages/core/src/command.ts."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """`escapeProperty`, likewise."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")
