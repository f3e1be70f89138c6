"""How a version's pods are, as far as a release cares."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """A Deployment's state: `ready` pods take traffic; `complete` when all wanted ones of the newest template do."""

    ready: int
    wanted: int
    complete: bool
    message: str
    """Why it is not complete, in the Deployment's own words."""
