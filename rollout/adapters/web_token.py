"""A JSON Web Token before anybody has verified it: its two documents, or nothing (RFC 7515, RFC 7519).

Belongs here: taking a token apart, strictly, and without believing it. Does not belong here: signatures and what the
claims must say (`oidc.py`), tokens of Kubernetes (`token_reviews.py`).
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LONGEST: Final = 16 * 1024
"""Characters of a token; what CI systems and Kubernetes issue has one to four thousand."""

_BEARER = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""What may be a token at all: b64token of RFC 6750."""
_PART = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says of itself. Anybody can have written it."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]

    @property
    def issuer(self) -> str:
        """Who is said to have issued it; "" if that is no text."""
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else ""

    @property
    def expires(self) -> float | None:
        """Seconds since 1970 at which it is said to end."""
        return number(self.claims.get("exp"))

    @property
    def audiences(self) -> tuple[str, ...]:
        """For whom it is said to be."""
        return audiences(self.claims.get("aud"))


def is_token(text: str) -> bool:
    """Whether it has the form and the size of a bearer token of any kind."""
    return len(text) <= LONGEST and _BEARER.fullmatch(text) is not None


def looks_like_jwt(token: str) -> bool:
    """Whether it has the three parts of a signed one."""
    return token.count(".") == 2


def read(token: str) -> Unverified | None:
    """Its header and claims; None where it is none, or one that two readers could read in two ways.

    No duplicate names, no NaN or infinity, no padding, no bits that a decoder drops.
    """
    parts = token.split(".")
    if len(token) > LONGEST or len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        return None
    header, claims = (_document(part) for part in parts[:2])
    if header is None or claims is None:
        return None
    return Unverified(header, claims)


def number(value: Any) -> float | None:
    """A NumericDate (RFC 7519 §2), in seconds since 1970; None for what is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value < 1e11 else None


def audiences(value: Any) -> tuple[str, ...]:
    """`aud`, one text or a list of them; nothing for anything else."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        return ()
    return tuple(listed)


def _document(part: str) -> dict[str, Any] | None:
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
            return None
        found = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except (binascii.Error, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(constant)
