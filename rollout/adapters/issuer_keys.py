"""The public keys of one issuer of tokens: OpenID Connect Discovery 1.0 and JSON Web Keys (RFC 7517).

Belongs here: where they are, for how long they hold, what to do with a key that is not known yet. Does not belong here:
tokens (`oidc.py`), the road outwards (`outbound.py`).
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any, Final, Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from rollout.adapters.outbound import Reply
from rollout.administration import Issuer, Reach
from rollout.ports import Outage, Refused

PublicKey = RSAPublicKey | EllipticCurvePublicKey

SOONEST: Final = 300.0
LATEST: Final = 86_400.0
"""Seconds within which the issuer's own `max-age` is believed; keys older than the second are never used."""
_USUAL: Final = 3600.0
_LOOK_AGAIN: Final = 30.0
"""A key that is not known is looked for at most this often, whoever sends tokens that name one."""
_RETRY: Final = 10.0
_ANSWER: Final = timedelta(seconds=5)
_MOST_KEYS: Final = 64
_MAX_AGE: Final = re.compile(r"(?:^|[,\s])max-age=([0-9]{1,9})(?:$|[,\s])")


class Road(Protocol):
    """What is needed of `outbound.Outbound`."""

    async def send(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        reach: Reach,
        timeout: timedelta,  # noqa: ASYNC109 - of the answer, as Outbound has it
    ) -> Reply:
        """One request. Raises Refused where it must not be made, Outage where there is no answer."""
        ...


@dataclass(frozen=True, slots=True)
class _Found:
    keys: Mapping[tuple[str, str], PublicKey]
    """By kid and algorithm."""
    lasts: float


class IssuerKeys:
    """Fetched when they are first needed, again when they are old, and again for a key that is not among them.

    An issuer that cannot be reached is no reason to refuse everybody: keys serve on until they are a day old.

    Args:
        issuer: whose keys.
        road: how requests leave.
        now: seconds that only ever rise.
    """

    def __init__(self, issuer: Issuer, road: Road, now: Callable[[], float] = monotonic) -> None:
        self._issuer = issuer
        self._road = road
        self._now = now
        self._keys: Mapping[tuple[str, str], PublicKey] = {}
        self._fetched_at: float | None = None
        self._fresh_until = 0.0
        self._next_try = 0.0
        self._trouble = ""
        self._one_at_a_time = asyncio.Lock()

    async def find(self, kid: str, algorithm: str) -> PublicKey | None:
        """The key of that name for that algorithm; None if the issuer has none. Raises Outage."""
        if self._now() >= self._fresh_until or (kid, algorithm) not in self._keys:
            await self._refresh()
        if self._fetched_at is None or self._now() - self._fetched_at >= LATEST:
            raise Outage(f"the keys of issuer {self._issuer.name} cannot be read: {self._trouble}")
        return self._keys.get((kid, algorithm))

    async def _refresh(self) -> None:
        """Fetch them, unless somebody did a moment ago."""
        async with self._one_at_a_time:
            if self._now() < self._next_try:
                return
            self._next_try = self._now() + _RETRY
            try:
                found = await self._fetch()
            except (Outage, Refused) as error:
                self._trouble = str(error)
                return
            self._keys, self._trouble = found.keys, ""
            self._fetched_at = self._now()
            self._fresh_until = self._fetched_at + found.lasts
            self._next_try = self._fetched_at + _LOOK_AGAIN

    async def _fetch(self) -> _Found:
        url = self._issuer.jwks or await self._discover()
        document, headers = await self._document(url)
        listed = document.get("keys")
        if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
            raise Outage("what it publishes as its keys is no set of keys")
        keys: dict[tuple[str, str], PublicKey] = {}
        for one in listed:
            entry = _key(one)
            # Of two keys of one name the first counts: which of them is meant must not depend on the token.
            if entry is not None and entry[0] not in keys:
                keys[entry[0]] = entry[1]
        if not keys:
            raise Outage("it publishes no key for RS256 or ES256")
        return _Found(keys, lifetime(headers.get("cache-control", "")))

    async def _discover(self) -> str:
        """Where its keys are (OpenID Connect Discovery 1.0 §4)."""
        document, _ = await self._document(self._issuer.url.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != self._issuer.url:
            raise Outage("its discovery document is another issuer's")
        url = document.get("jwks_uri")
        if not isinstance(url, str):
            raise Outage("its discovery document names no jwks_uri")
        return url

    async def _document(self, url: str) -> tuple[Mapping[str, Any], Mapping[str, str]]:
        accept = {"accept": "application/json"}
        reply = await self._road.send("GET", url, headers=accept, reach=self._issuer.reach, timeout=_ANSWER)
        if reply.status != 200:
            raise Outage(f"it answered {reply.status}")
        try:
            document = json.loads(reply.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise Outage("it answered with what is no JSON object, or is too long")
        return document, reply.headers


def lifetime(cache_control: str) -> float:
    """For how many seconds keys are fresh, by the answer's Cache-Control (RFC 9111 §5.2.2), within our own limits."""
    directives = cache_control.lower()
    if "no-store" in directives or "no-cache" in directives:
        return SOONEST
    found = _MAX_AGE.search(directives)
    return min(LATEST, max(SOONEST, float(found[1]))) if found else _USUAL


def _key(jwk: Any) -> tuple[tuple[str, str], PublicKey] | None:
    """((kid, algorithm), key) of one that verifies RS256 or ES256; None for all others, which may stand beside it."""
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str) or jwk.get("use", "sig") != "sig":
        return None
    algorithm = {("RSA", None): "RS256", ("EC", "P-256"): "ES256"}.get((str(jwk.get("kty")), jwk.get("crv")))
    if algorithm is None or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK(jwk, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    is_rsa = isinstance(key, RSAPublicKey) and 2048 <= key.key_size <= 8192
    is_ec = isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    return ((jwk["kid"], algorithm), key) if is_rsa or is_ec else None
