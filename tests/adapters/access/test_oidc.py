"""Which tokens of a CI system are believed, and which never."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout.adapters.oidc import LONGEST_LIFE, OidcIssuer
from rollout.adapters.outbound import Outbound
from rollout.adapters.web_token import read
from rollout.core.access import Identity
from rollout.ports import Outage, Unauthenticated
from tests.adapters.access.ci_system import AUDIENCE, NOW, CiSystem, ec_key, part, pem, public, rsa_key
from tests.adapters.access.conftest import Seconds
from tests.adapters.access.listener import Said
from tests.fakes.clock import FakeClock


async def identify(issuer: OidcIssuer, token: str) -> Identity:
    unverified = read(token)
    assert unverified is not None
    return await issuer.identify(token, unverified)


async def refused(issuer: OidcIssuer, token: str) -> None:
    unverified = read(token)
    if unverified is None:
        return
    with pytest.raises(Unauthenticated) as caught:
        await issuer.identify(token, unverified)
    assert token not in str(caught.value)


def signed_by_hand(header: Any, claims: Any) -> str:
    """Signed rightly, whatever is written: PyJWT would not write most of it."""
    signing = f"{part(header)}.{part(claims)}"
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415 - only here
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415 - only here

    signature = rsa_key().sign(signing.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signing}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


async def test_a_job_is_who_its_token_says_with_the_claims_that_triggers_look_at(
    ci: CiSystem, issuer: OidcIssuer
) -> None:
    who = await identify(issuer, ci.token())
    assert (who.name, who.issuer) == ("github:repo:acme/checkout:environment:production", "github")
    assert who.claims["repository_id"] == "4711"
    assert who.claims["jti"] == "5c4a2f0e"
    assert "repository_visibility" not in who.claims
    assert "4711" not in repr(who)


async def test_both_pinned_algorithms_are_believed(ci: CiSystem, issuer: OidcIssuer) -> None:
    token = ci.token(key=ec_key(), algorithm="ES256", headers={"kid": "two"})
    assert (await identify(issuer, token)).issuer == "github"
    assert (await identify(issuer, ci.token())).issuer == "github"


CLAIMS: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "https://github.com/acme"},
    "our audience and another one": {"aud": [AUDIENCE, "sigstore"]},
    "our audience in a number": {"aud": 5},
    "no audience": {"aud": None},
    "another issuer": {"iss": "https://token.actions.githubusercontent.com"},
    "expired": {"exp": NOW - 31},
    "no end": {"exp": None},
    "an end that is text": {"exp": str(NOW + 300)},
    "an end that is true": {"exp": True},
    "not yet valid": {"nbf": NOW + 31},
    "no beginning": {"nbf": None},
    "issued in the future": {"iat": NOW + 31},
    "no time of issue": {"iat": None},
    "issued more than an hour ago": {"iat": NOW - LONGEST_LIFE - 31, "nbf": NOW - LONGEST_LIFE - 31},
    "no jti": {"jti": None},
    "an empty jti": {"jti": ""},
    "a jti that is a number": {"jti": 5},
    "no subject": {"sub": None},
    "a subject with a line end": {"sub": "repo:acme/checkout\nadmin"},
    "a subject that turns what is read round": {"sub": "repo:acme/\u202echeckout"},
}


@pytest.mark.parametrize("what", CLAIMS)
async def test_a_signed_token_is_refused_with(what: str, ci: CiSystem, issuer: OidcIssuer) -> None:
    await refused(issuer, ci.token(**CLAIMS[what]))


@pytest.mark.parametrize(
    ("kind", "owner", "claim"), [("github", "9919", "repository_owner_id"), ("gitlab", "22", "namespace_id")]
)
async def test_only_the_owners_that_are_named_are_known(
    kind: str, owner: str, claim: str, ci: CiSystem, clock: FakeClock
) -> None:
    issuer = OidcIssuer(ci.settings(kind=kind, owners=("1", owner)), Outbound(), clock)
    assert (await identify(issuer, ci.token())).issuer == "github"
    for other in ({claim: "2"}, {claim: None}, {claim: int(owner)}, {claim: [owner]}):
        await refused(issuer, ci.token(**other))


async def test_a_clock_that_differs_by_half_a_minute_refuses_nobody(ci: CiSystem, issuer: OidcIssuer) -> None:
    assert (await identify(issuer, ci.token(exp=NOW - 29))).issuer == "github"
    assert (await identify(issuer, ci.token(nbf=NOW + 29, iat=NOW + 29))).issuer == "github"


async def test_a_subject_of_any_length_makes_a_name_that_fits_and_stays_apart(ci: CiSystem, issuer: OidcIssuer) -> None:
    long = "repo:acme/checkout:environment:" + "e" * 300
    one, other = [await identify(issuer, ci.token(sub=long + end)) for end in "ab"]
    assert one.name != other.name
    assert max(len(one.name), len(other.name)) <= 256


async def test_a_token_without_a_signature_is_refused(ci: CiSystem, issuer: OidcIssuer) -> None:
    for alg in ("none", "None", "NONE", ""):
        unsigned = f"{part({'alg': alg, 'kid': 'one', 'typ': 'JWT'})}.{part(ci.claims())}."
        await refused(issuer, unsigned)
        await refused(issuer, unsigned + "AA")


async def test_a_token_signed_by_the_public_key_as_a_shared_secret_is_refused(ci: CiSystem, issuer: OidcIssuer) -> None:
    signing = f"{part({'alg': 'HS256', 'kid': 'one', 'typ': 'JWT'})}.{part(ci.claims())}"
    mac = hmac.new(pem(rsa_key()), signing.encode(), hashlib.sha256).digest()
    await refused(issuer, f"{signing}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


async def test_a_token_signed_by_somebody_else_is_refused(ci: CiSystem, issuer: OidcIssuer) -> None:
    await refused(issuer, ci.token(key=rsa_key(1)))
    # The other kind of key under the same name.
    await refused(issuer, ci.token(key=ec_key(), algorithm="ES256"))


async def test_a_token_that_brings_its_own_key_is_refused(ci: CiSystem, issuer: OidcIssuer) -> None:
    headers: list[dict[str, Any]] = [
        {"jwk": public(rsa_key(1), "one")},
        {"jku": f"{ci.url}/theirs"},
        {"x5u": f"{ci.url}/theirs"},
    ]
    for one in headers:
        await refused(issuer, ci.token(key=rsa_key(1), headers=one))
    assert {path for path, _ in ci.listener.asked} == {"/.well-known/openid-configuration", "/jwks"}


async def test_other_algorithms_of_the_right_key_are_refused(ci: CiSystem, issuer: OidcIssuer) -> None:
    for algorithm in ("RS384", "RS512", "PS256"):
        await refused(issuer, ci.token(algorithm=algorithm))


HEADERS: dict[str, dict[str, Any]] = {
    "no kid": {"alg": "RS256", "typ": "JWT"},
    "a kid that is a number": {"alg": "RS256", "kid": 1},
    "an extension that we must understand": {"alg": "RS256", "kid": "one", "crit": ["exp"], "exp": 1},
    "a payload that is not encoded": {"alg": "RS256", "kid": "one", "b64": False, "crit": ["b64"]},
    "an access token's type": {"alg": "RS256", "kid": "one", "typ": "at+jwt"},
    "a list of algorithms": {"alg": ["RS256"], "kid": "one"},
}


@pytest.mark.parametrize("what", HEADERS)
async def test_a_signed_token_is_refused_whose_header_has(what: str, ci: CiSystem, issuer: OidcIssuer) -> None:
    await refused(issuer, signed_by_hand(HEADERS[what], ci.claims()))


async def test_a_token_signed_by_hand_is_as_good_as_any(ci: CiSystem, issuer: OidcIssuer) -> None:
    assert (await identify(issuer, signed_by_hand({"alg": "RS256", "kid": "one"}, ci.claims()))).issuer == "github"


async def test_a_name_that_is_there_twice_makes_a_token_unreadable(ci: CiSystem) -> None:
    claims = json.dumps(ci.claims())
    twice = claims[:-1] + ', "repository_id": "1"}'
    assert read(signed_by_hand({"alg": "RS256", "kid": "one"}, claims)) is not None
    assert read(signed_by_hand({"alg": "RS256", "kid": "one"}, twice)) is None
    assert read(signed_by_hand('{"alg":"RS256","kid":"one","kid":"two"}', claims)) is None


async def test_a_huge_token_is_not_even_taken_apart(ci: CiSystem) -> None:
    assert read(ci.token(padding="x" * 20_000)) is None
    assert read(f"{part('[' * 9000)}.{part('{}')}.AA") is None


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=50))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_at_all_breaks_the_reading(header: str, claims: str, signature: str) -> None:
    read(f"{header}.{claims}.{signature}")
    read(f"{part(header)}.{part(claims)}.{part(signature)}")


# --- keys


async def test_keys_are_fetched_once_and_again_when_they_are_old(
    ci: CiSystem, issuer: OidcIssuer, seconds: Seconds
) -> None:
    ci.headers = {"cache-control": "public, max-age=600"}
    for _ in range(5):
        await identify(issuer, ci.token())
    assert ci.fetches == 1
    seconds.now += 599
    await identify(issuer, ci.token())
    assert ci.fetches == 1
    seconds.now += 2
    await identify(issuer, ci.token())
    assert ci.fetches == 2


@pytest.mark.parametrize(
    ("said", "lasts"),
    [("max-age=1", 300), ("no-store", 300), ("max-age=99999999", 86_400), ("", 3600), ("s-maxage=5", 3600)],
)
async def test_how_long_keys_hold_is_bounded_by_us(
    said: str, lasts: float, ci: CiSystem, issuer: OidcIssuer, seconds: Seconds
) -> None:
    ci.headers = {"cache-control": said} if said else {}
    await identify(issuer, ci.token())
    seconds.now += lasts - 1
    await identify(issuer, ci.token())
    assert ci.fetches == 1
    seconds.now += 1
    await identify(issuer, ci.token())
    assert ci.fetches == 2


async def test_a_key_that_came_with_a_rotation_is_found(ci: CiSystem, issuer: OidcIssuer, seconds: Seconds) -> None:
    await identify(issuer, ci.token())
    ci.keys = [public(rsa_key(2), "three")]
    seconds.now += 31
    assert (await identify(issuer, ci.token(key=rsa_key(2), headers={"kid": "three"}))).issuer == "github"
    # And what was withdrawn is gone.
    await refused(issuer, ci.token())


async def test_tokens_with_made_up_key_names_fetch_keys_at_most_twice_a_minute(
    ci: CiSystem, issuer: OidcIssuer, seconds: Seconds
) -> None:
    for number in range(50):
        await refused(issuer, ci.token(headers={"kid": f"made-up-{number}"}))
    assert ci.fetches == 1
    seconds.now += 31
    for number in range(50):
        await refused(issuer, ci.token(headers={"kid": f"made-up-{number}"}))
    assert ci.fetches == 2


async def test_an_issuer_that_is_down_is_an_outage_first_and_later_its_old_keys_serve_for_a_day(
    ci: CiSystem, issuer: OidcIssuer, seconds: Seconds
) -> None:
    ci.status = 503
    with pytest.raises(Outage):
        await identify(issuer, ci.token())
    ci.status = 200
    seconds.now += 11
    assert (await identify(issuer, ci.token())).issuer == "github"
    ci.status = 503
    seconds.now += 86_000
    assert (await identify(issuer, ci.token())).issuer == "github"
    fetches = ci.fetches
    for _ in range(20):
        assert (await identify(issuer, ci.token())).issuer == "github"
    assert ci.fetches == fetches
    seconds.now += 500
    with pytest.raises(Outage):
        await identify(issuer, ci.token())


async def test_a_redirect_is_not_followed_to_other_keys(ci: CiSystem, issuer: OidcIssuer) -> None:
    ci.listener.answers["/theirs"] = lambda _: Said({"keys": [public(rsa_key(1), "one")]})
    ci.listener.answers["/jwks"] = lambda _: Said({}, 302, {"location": f"{ci.url}/theirs"})
    with pytest.raises(Outage):
        await identify(issuer, ci.token(key=rsa_key(1)))
    assert "/theirs" not in {path for path, _ in ci.listener.asked}


@pytest.mark.parametrize(
    "discovery",
    [{"issuer": "https://other.example", "jwks_uri": "http://127.0.0.1/jwks"}, {"issuer": "same"}, [], "text", b"\xff"],
)
async def test_a_discovery_document_that_does_not_fit_is_an_outage(
    discovery: Any, ci: CiSystem, issuer: OidcIssuer
) -> None:
    if isinstance(discovery, dict) and discovery.get("issuer") == "same":
        discovery = {"issuer": ci.url}
    ci.listener.answers["/.well-known/openid-configuration"] = lambda _: Said(discovery)
    with pytest.raises(Outage):
        await identify(issuer, ci.token())


@pytest.mark.parametrize(
    "keys",
    [
        [],
        None,
        [{"kty": "oct", "kid": "one", "k": "c2VjcmV0", "alg": "HS256"}],
        [public(rsa_key(3, 1024), "one")],
        [public(rsa_key(), "one", use="enc")],
        [public(rsa_key(), "one", alg="RS512")],
        [{"kty": "RSA", "kid": "one", "n": "!", "e": "AQAB"}],
        ["text", 5, {"kty": "RSA"}],
        [public(rsa_key(), str(number)) for number in range(65)],
    ],
)
async def test_keys_that_cannot_be_used_are_an_outage(keys: Any, ci: CiSystem, issuer: OidcIssuer) -> None:
    ci.keys = keys
    with pytest.raises(Outage):
        await identify(issuer, ci.token())


async def test_keys_of_other_kinds_may_stand_beside_ours(ci: CiSystem, issuer: OidcIssuer) -> None:
    ci.keys = [{"kty": "OKP", "crv": "Ed25519", "kid": "zero", "x": "AA"}, "text", *ci.keys, public(rsa_key(1), "one")]  # type: ignore[list-item]
    assert (await identify(issuer, ci.token())).issuer == "github"
    await refused(issuer, ci.token(key=rsa_key(1)))


async def test_the_address_of_the_keys_may_be_given(ci: CiSystem, clock: FakeClock) -> None:
    issuer = OidcIssuer(ci.settings(jwks=f"{ci.url}/jwks"), Outbound(), clock)
    assert (await identify(issuer, ci.token())).issuer == "github"
    assert [path for path, _ in ci.listener.asked] == ["/jwks"]


async def test_a_token_that_names_its_own_end_far_away_ends_after_an_hour_all_the_same(
    ci: CiSystem, issuer: OidcIssuer, clock: FakeClock
) -> None:
    token = ci.token(exp=NOW + 100_000)
    assert (await identify(issuer, token)).issuer == "github"
    clock.advance(timedelta(seconds=LONGEST_LIFE + 30))
    await refused(issuer, token)
