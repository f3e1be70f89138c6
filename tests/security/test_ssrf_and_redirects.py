"""Nobody but an administrator makes us call an address, and no answer leads us to another one."""

from typing import Any

import pytest
from pydantic import ValidationError

from rollout.adapters.oidc import OidcIssuer
from rollout.adapters.outbound import Outbound
from rollout.adapters.web_token import read
from rollout.administration import Reach
from rollout.core.policy import PolicySpec
from rollout.ports import Outage
from tests.adapters.access.ci_system import CiSystem
from tests.adapters.access.listener import Listener, Said, listening
from tests.fakes.clock import FakeClock

METADATA = "http://169.254.169.254/latest/meta-data"
FIELDS: list[dict[str, Any]] = [
    {"gates": [{"name": "g", "kind": "webhook", "use": METADATA}]},
    {"gates": [{"name": "g", "kind": "webhook", "use": "hook", "url": METADATA}]},
    {"gates": [{"name": "g", "kind": "job", "use": METADATA}]},
    {"notify": [METADATA]},
    {"allowedTriggers": [{"issuer": METADATA, "repositoryId": "1"}]},
    {"route": {"host": METADATA + "/{version}"}},
    {"metrics": {"url": METADATA}},
]


@pytest.mark.parametrize("fields", FIELDS)
def test_a_policy_has_no_place_for_an_address(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PolicySpec.model_validate(fields)


async def _identified(ci: CiSystem, clock: FakeClock, **fields: Any) -> None:
    issuer = OidcIssuer(ci.settings(**fields), Outbound(), clock)
    unverified = read(ci.token())
    assert unverified is not None
    await issuer.identify(ci.token(), unverified)


@pytest.mark.parametrize("url", [METADATA, "https://[::1]/keys", "https://2130706433/keys", "file:///etc/passwd", "x"])
async def test_an_issuer_that_names_an_inner_address_for_its_keys_is_not_followed(
    url: str, ci: CiSystem, clock: FakeClock
) -> None:
    ci.listener.answers["/.well-known/openid-configuration"] = lambda _: Said({"issuer": ci.url, "jwks_uri": url})
    with pytest.raises(Outage):
        await _identified(ci, clock)


async def test_an_issuer_that_redirects_is_not_followed(ci: CiSystem, clock: FakeClock) -> None:
    async with listening() as inner:
        ci.listener.answers["/jwks"] = lambda _: Said({}, 307, {"location": f"{inner.url}/jwks"})
        with pytest.raises(Outage):
            await _identified(ci, clock)
        assert not inner.asked


async def test_an_issuer_on_an_inner_address_is_asked_only_where_the_administrator_says_so(
    ci: CiSystem, clock: FakeClock
) -> None:
    for reach in (Reach(insecure=True), Reach(insecure=True, allow=("10.0.0.0/8",))):
        with pytest.raises(Outage):
            await _identified(ci, clock, reach=reach)
    assert not ci.listener.asked
    await _identified(ci, clock)


async def test_a_tokens_own_issuer_is_never_called(house: Any, ci: CiSystem, api: Listener) -> None:
    async with listening() as theirs, house.client(ci.token(iss=theirs.url, aud="rollout")) as client:
        await client.get("/v1/whoami")
        assert not theirs.asked
    assert not ci.listener.asked
    assert api.asked
