"""A CI system that issues identity tokens: its keys, its discovery document, and tokens good and bad."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rollout.administration import Issuer, Reach
from tests.adapters.access.listener import JsonObject, Listener, Said

AUDIENCE = "rollout.example"
NOW = 1_795_000_000
"""Seconds since 1970; the time of all tests here."""


@cache
def rsa_key(number: int = 0, size: int = 2048) -> rsa.RSAPrivateKey:
    """The same one for the same number: making them takes a while."""
    del number
    return rsa.generate_private_key(65537, size)


@cache
def ec_key(number: int = 0) -> ec.EllipticCurvePrivateKey:
    del number
    return ec.generate_private_key(ec.SECP256R1())


def public(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, kid: str, **fields: Any) -> JsonObject:
    """As a JSON Web Key."""
    if isinstance(key, rsa.RSAPrivateKey):
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        jwk = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**jwk, "kid": kid, "use": "sig", **fields}


def pem(key: rsa.RSAPrivateKey) -> bytes:
    """The public key as an attacker has it."""
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def part(document: Any) -> str:
    """One part of a token, of any text or object."""
    text = document if isinstance(document, str) else json.dumps(document)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@dataclass
class CiSystem:
    """An issuer on this machine, served by `listener`."""

    listener: Listener
    keys: list[JsonObject] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 200

    def __post_init__(self) -> None:
        self.keys = [public(rsa_key(), "one"), public(ec_key(), "two")]
        self.listener.answers["/.well-known/openid-configuration"] = lambda _: Said(
            {"issuer": self.url, "jwks_uri": f"{self.url}/jwks"}
        )
        self.listener.answers["/jwks"] = lambda _: Said({"keys": self.keys}, self.status, self.headers)

    @property
    def url(self) -> str:
        return self.listener.url

    @property
    def fetches(self) -> int:
        """How often its keys were fetched."""
        return sum(path == "/jwks" for path, _ in self.listener.asked)

    def settings(self, **fields: Any) -> Issuer:
        reach = Reach(insecure=True, allow=("127.0.0.0/8",))
        known: dict[str, Any] = {"name": "github", "kind": "github", "url": self.url, "audience": AUDIENCE}
        return Issuer(**{**known, "reach": reach, **fields})

    def claims(self, **changes: Any) -> JsonObject:
        """Those of a good token; a change to None takes a claim out."""
        good = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "repo:acme/checkout:environment:production",
            "jti": "5c4a2f0e",
            "iat": NOW - 10,
            "nbf": NOW - 10,
            "exp": NOW + 300,
            "repository_id": "4711",
            "repository_owner_id": "9919",
            "namespace_id": "22",
            "environment": "production",
            "repository_visibility": "private",
        }
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def token(
        self,
        *,
        key: Any = None,
        algorithm: str = "RS256",
        headers: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """Signed by its first key unless told otherwise."""
        return jwt.encode(
            self.claims(**changes),
            rsa_key() if key is None else key,
            algorithm=algorithm,
            headers={"kid": "one", **(headers or {})},
        )
