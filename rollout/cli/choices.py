"""Words that options take. Apart from what uses them, so that the options can be declared without importing that."""

from enum import StrEnum


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


class Findings(StrEnum):
    """How to print what preflight found; `github` is for the annotations of a workflow."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"


class OnCancel(StrEnum):
    """What becomes of the release when whoever waits for it is told to stop."""

    ABORT = "abort"
    DETACH = "detach"


class LogFormat(StrEnum):
    """How log lines look; `auto` is console on a terminal, else JSON."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """The least important lines that are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
