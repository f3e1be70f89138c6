"""What people and CI can ask for, carried out: all of it is writing wishes to `Release.spec`, and freezes.

Belongs here: which wish is written, when it makes no sense, and that asking twice is the same as asking once. Does not
belong here: what can be asked and what the answers are (`desk.py` of the package above), carrying a wish out
(`core/decide.py`), printing (`cli/`).

The wishes are compare-and-set on the release as read; if it changed meanwhile it is read and considered again.
"""

from rollout.commands.desk import LocalDesk
from rollout.commands.freezing import freeze, frozen_by, stop, unfreeze
from rollout.commands.starting import start
from rollout.commands.wishes import ATTEMPTS, abort, approve, pause, promote, resume

__all__ = [
    "ATTEMPTS",
    "LocalDesk",
    "abort",
    "approve",
    "freeze",
    "frozen_by",
    "pause",
    "promote",
    "resume",
    "start",
    "stop",
    "unfreeze",
]
