"""Complaints about fields that do not go together: an error with the path of the one to change."""

from datetime import timedelta

from pydantic_core import PydanticCustomError

from rollout.core.quantities import format_duration


def disagree(path: str, message: str, duration: timedelta | None = None) -> PydanticCustomError:
    """An error to raise in a model's validator.

    Args:
        path: of the field to change, dotted, below the model; it is in the error's `ctx`.
        message: what was expected; `{}` in it is for the duration.
        duration: written as in a policy.
    """
    text = message if duration is None else message.format(format_duration(duration))
    return PydanticCustomError("disagree", "{text}", {"text": text, "path": path})
