"""Identity tokens of CI jobs (GitHub Actions, GitLab), judged by their issuer's keys.

Belongs here: the signature, and what the claims of a token must be before it is believed. Does not belong here: the
keys (`issuer_keys.py`), what a job may do (`core/triggers.py`), whether a token was used before (`token_uses.py`).

The rules are RFC 8725's (JSON Web Token Best Current Practices): algorithms pinned on our side, keys from nowhere but
the issuer, every claim checked. Claims as in GitHub's "OpenID Connect reference" and GitLab's "ID tokens".
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

import jwt

from rollout.adapters.issuer_keys import IssuerKeys, Road
from rollout.adapters.web_token import Unverified, audiences, number
from rollout.administration import Issuer
from rollout.core.access import Identity
from rollout.ports import Clock, Unauthenticated

ALGORITHMS: Final = ("RS256", "ES256")
LEEWAY: Final = 30.0
"""Seconds by which the issuer's clock may differ from ours."""
LONGEST_LIFE: Final = 3600.0
"""Seconds after its issue at which a token is too old, whatever end it names itself."""

_TEXT: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]{1,1024}")
"""What may be part of a name that people read in logs: nothing invisible, nothing that turns it round."""
_LONGEST_NAME: Final = 256
_KEPT: Final = (
    "jti", "exp", "repository", "repository_id", "repository_owner_id", "project_path", "project_id", "namespace_id",
    "environment", "environment_protected", "job_workflow_ref", "ci_config_ref_uri", "ref", "ref_type",
    "ref_protected", "event_name", "pipeline_source", "run_id", "run_attempt", "pipeline_id", "job_id", "actor",
    "user_login", "sha",
)  # fmt: skip
"""Claims that triggers look at or people want to see; nothing else of a token is kept."""
_OWNER: Final = {"github": "repository_owner_id", "gitlab": "namespace_id"}
"""By kind of issuer: the claim with the id of who owns the repository or project."""
_NO: Final = "this token cannot be verified"


class OidcIssuer:
    """One CI system whose tokens are believed.

    Args:
        issuer: as in the settings.
        road: how its keys are fetched.
        clock: for the tokens' times.
        now: seconds that only ever rise, for the age of the keys.
    """

    def __init__(self, issuer: Issuer, road: Road, clock: Clock, now: Callable[[], float] = monotonic) -> None:
        self._issuer = issuer
        self._keys = IssuerKeys(issuer, road, now)
        self._clock = clock
        self._jws = jwt.PyJWS(algorithms=ALGORITHMS, options={"enforce_minimum_key_length": True})

    @property
    def url(self) -> str:
        """`iss` of its tokens."""
        return self._issuer.url

    async def identify(self, token: str, unverified: Unverified) -> Identity:
        """The job that bears it; `unverified` is what the very same token says.

        Raises Unauthenticated; Outage if the issuer's keys cannot be had.
        """
        header = unverified.header
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS or not isinstance(kid, str) or str(header.get("typ", "JWT")).upper() != "JWT":
            raise Unauthenticated(_NO)
        # "crit" names extensions that must be understood (RFC 7515 §4.1.11); we understand none.
        if "crit" in header or "b64" in header:
            raise Unauthenticated(_NO)
        key = await self._keys.find(kid, algorithm)
        if key is None or not self._signed(token, key, algorithm):
            raise Unauthenticated(_NO)
        claims = unverified.claims
        problem = _problem(claims, self._issuer, self._clock.now().timestamp())
        if problem:
            raise Unauthenticated(problem)
        kept = {name: claims[name] for name in _KEPT if isinstance(claims.get(name), str | int | float)}
        return Identity(name=_name(self._issuer.name, claims["sub"]), issuer=self._issuer.name, claims=kept)

    def _signed(self, token: str, key: Any, algorithm: str) -> bool:
        try:
            self._jws.decode(token, key, algorithms=[algorithm])
        except (jwt.PyJWTError, ValueError, TypeError):
            return False
        return True


def _name(issuer: str, subject: str) -> str:
    """What the job is called; a digest keeps apart what is too long to be written whole."""
    name = f"{issuer}:{subject}"
    if len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: _LONGEST_NAME - len(digest) - 1]}~{digest}"


def _problem(claims: Mapping[str, Any], issuer: Issuer, now: float) -> str:
    """Why a signed token is not believed; "" if it is. The words tell its bearer nothing that it does not say."""
    # One audience and no other: whoever else a token was for could use it here.
    if claims.get("iss") != issuer.url or audiences(claims.get("aud")) != (issuer.audience,):
        return "this token is for another audience"
    if issuer.owners and claims.get(_OWNER[issuer.kind]) not in issuer.owners:
        return "this token is of an owner that is not known here"
    if not all(isinstance(claims.get(name), str) and _TEXT.fullmatch(claims[name]) for name in ("sub", "jti")):
        return "this token lacks sub or jti"
    return _too_early_or_late(claims, now)


def _too_early_or_late(claims: Mapping[str, Any], now: float) -> str:
    issued, begins, ends = (number(claims.get(name)) for name in ("iat", "nbf", "exp"))
    if issued is None or begins is None or ends is None:
        return "this token lacks iat, nbf or exp"
    if now < max(begins, issued) - LEEWAY:
        return "this token is not valid yet"
    return "this token has expired" if now >= min(ends, issued + LONGEST_LIFE) + LEEWAY else ""
