"""A freeze: nobody starts or advances in its scope until it ends or is lifted; a rollback never waits for it.

Belongs here: the words of the `Freeze` object and which releases it concerns. Does not belong here: reading and writing
it (`adapters/freezes.py`), holding a release (`core/waiting.py`).
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Self

from pydantic import Field, model_validator

from rollout.core.disagreement import disagree
from rollout.core.quantities import Instant, Label, Model

EVERYWHERE = "all"
"""The scope, and the object's name, of a freeze of everything that a controller releases."""


class FreezeSpec(Model):
    """What the object says. With neither `service` nor `everywhere` it is for all services of its namespace."""

    service: Label | None = Field(default=None, description="Only this service of the namespace.")
    everywhere: bool = Field(
        default=False, description="All namespaces; counts only in the namespace of the controller itself."
    )
    until: Instant | None = Field(default=None, description="When it ends by itself; never, if it is not given.")
    reason: str = Field(default="", max_length=1024, description="Why; shown wherever a release waits for it.")
    by: str = Field(default="", max_length=256, description="Who asked for it.")
    at: Instant | None = Field(default=None, description="When it was asked for.")

    @model_validator(mode="after")
    def _is_for_one_scope(self) -> Self:
        if self.everywhere and self.service is not None:
            raise disagree("service", "a freeze of everything names no service")
        return self


class Freeze(Model):
    """A freeze as read: which object, and what it says."""

    namespace: Label
    name: str
    spec: FreezeSpec

    @property
    def scope(self) -> str:
        """`all`, `shop` or `shop/checkout`: what is frozen, as the command line and the HTTP API name it."""
        if self.spec.everywhere:
            return EVERYWHERE
        return self.namespace if self.spec.service is None else f"{self.namespace}/{self.spec.service}"

    def holds(self, now: datetime) -> bool:
        """Whether it is in force."""
        return self.spec.until is None or now < self.spec.until


def in_force(freezes: Iterable[Freeze], now: datetime) -> Freeze | None:
    """Of those that are in force the one that lasts longest; None if nothing is frozen."""
    held = [one for one in freezes if one.holds(now)]
    return max(held, key=lambda one: (one.spec.until is None, one.spec.until or now), default=None)


def freeze_name(service: str | None, *, everywhere: bool) -> str:
    """The one name that a freeze of this scope has in its namespace: setting it again replaces it."""
    if everywhere:
        return EVERYWHERE
    return "namespace" if service is None else f"service-{service}"
