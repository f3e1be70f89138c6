"""Who calls, and what there is to be allowed. Words only: whether a token is genuine and a right given is others' work.

Belongs here: identities, the verbs of our HTTP API as rights. Does not belong here: tokens (`adapters/oidc.py`,
`adapters/token_reviews.py`), who may do what (`adapters/permissions.py`), the rule of each route (`api/`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Right(StrEnum):
    """What may be allowed; each is a verb on a resource of rollout.dev, so that RBAC can grant it.

    Most are verbs of ours alone, which the Kubernetes API itself never asks about.
    """

    CREATE = "create"
    GET = "get"
    LIST = "list"
    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    APPROVE = "approve"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"
    WRITE_POLICY = "update"
    """To bring a policy along is to write the service's for one release: no more, no less is asked for."""

    @property
    def resource(self) -> str:
        """The plural of what it is a right on."""
        match self:
            case Right.FREEZE | Right.UNFREEZE:
                return "freezes"
            case Right.WRITE_POLICY:
                return "servicepolicies"
            case _:
                return "releases"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls, as a genuine token says."""

    name: str
    """`system:serviceaccount:shop:ci`, or `github:repo:acme/checkout:environment:production` (the token's `sub`)."""
    groups: tuple[str, ...] = ()
    uid: str = ""
    issuer: str = ""
    """Name of the CI system's issuer in the settings; "" for whom the Kubernetes API knows.

    The two kinds never mix: a name is unique only together with its issuer.
    """
    claims: Mapping[str, object] = field(default_factory=dict, repr=False)
    """Of a CI system's token; never logged."""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """As TokenReview gives it, for SubjectAccessReview."""
