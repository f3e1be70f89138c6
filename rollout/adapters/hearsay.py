"""What others say, as one short line that cannot disturb a terminal, a log or an object's status."""

from typing import Final

LONGEST: Final = 200


def short_line(text: object) -> str:
    """At most 200 printable characters; what is not printable (controls, direction marks, halves of pairs) is a gap."""
    line = " ".join("".join(char if char.isprintable() else " " for char in str(text)).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
