"""Who may call which route: one table, and what is not in it is refused.

Belongs here: for every route the rights that it takes and where the namespace and service come from. Does not belong
here: whether somebody has a right (`ports.Authorizer`), asking for it (`passports.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from rollout.core.access import Right
from rollout.desk import VERBS


class Place(Enum):
    """Where a request says which namespace and service it is about."""

    NOWHERE = "nothing to be allowed: whoever is known may ask"
    RELEASE = "the release in the path; its service is read from it"
    SERVICE = "the namespace and service in the path"
    NAMESPACE = "the query's namespace, or all"
    SCOPE = "the freeze's scope in the path"
    BODY = "the body"


@dataclass(frozen=True, slots=True)
class Rule:
    """What a route takes. All `rights` are needed; without `known` nobody is asked who they are."""

    place: Place
    rights: tuple[Right, ...] = ()
    known: bool = True


_OPEN: Final = Rule(Place.NOWHERE, known=False)
_KNOWN: Final = Rule(Place.NOWHERE)
_RELEASE: Final = "/v1/releases/{namespace}/{name}"

RULES: Final[Mapping[tuple[str, str], Rule]] = {
    ("GET", "/livez"): _OPEN,
    ("GET", "/readyz"): _OPEN,
    ("GET", "/startupz"): _OPEN,
    ("GET", "/openapi.json"): _KNOWN,
    ("GET", "/v1/whoami"): _KNOWN,
    ("POST", "/v1/validate"): _KNOWN,
    ("POST", "/v1/releases"): Rule(Place.BODY, (Right.CREATE,)),
    ("GET", "/v1/releases"): Rule(Place.NAMESPACE, (Right.LIST,)),
    ("GET", _RELEASE): Rule(Place.RELEASE, (Right.GET,)),
    ("GET", f"{_RELEASE}/events"): Rule(Place.RELEASE, (Right.GET,)),
    ("GET", f"{_RELEASE}/decisions"): Rule(Place.RELEASE, (Right.GET,)),
    **{("POST", f"{_RELEASE}/{verb}"): Rule(Place.RELEASE, (Right(verb),)) for verb in VERBS},
    ("GET", "/v1/freezes"): Rule(Place.NAMESPACE, (Right.LIST,)),
    ("GET", "/v1/freezes/{scope}"): Rule(Place.SCOPE, (Right.LIST,)),
    ("PUT", "/v1/freezes/{scope}"): Rule(Place.SCOPE, (Right.FREEZE,)),
    ("DELETE", "/v1/freezes/{scope}"): Rule(Place.SCOPE, (Right.UNFREEZE,)),
    ("POST", "/v1/stop"): Rule(Place.BODY, (Right.FREEZE, Right.ABORT)),
    ("GET", "/v1/services"): Rule(Place.NAMESPACE, (Right.LIST,)),
    ("GET", "/v1/services/{namespace}/{name}"): Rule(Place.SERVICE, (Right.GET,)),
    ("POST", "/v1/preflight"): Rule(Place.BODY, (Right.CREATE,)),
}
"""(method, path) -> rule, for every route there is."""

OPEN_PATHS: Final = frozenset(path for (_, path), rule in RULES.items() if not rule.known)
