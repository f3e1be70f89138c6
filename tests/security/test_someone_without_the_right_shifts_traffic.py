"""Every request that changes anything, by somebody who may not, and while nobody can say who may."""

import pytest

from rollout.api.rules import RULES, Rule
from tests.adapters.access.listener import Listener, Said
from tests.api.house import House
from tests.security.conftest import REVIEWS, RIGHTS, may

START = {"namespace": "shop", "service": "checkout", "version": "v2"}
BODIES: dict[str, object] = {
    "/v1/releases": START,
    "/v1/preflight": START,
    "/v1/releases/{namespace}/{name}/approve": {"gate": "qa"},
    "/v1/stop": {"scope": "shop", "reason": "x"},
}
RULED = [(method, path, rule) for (method, path), rule in RULES.items() if rule.rights]


async def _asked(house: House, method: str, path: str) -> int:
    place = path.replace("{namespace}", "shop").replace("{name}", "checkout-v2").replace("{scope}", "shop")
    body = BODIES.get(path, {"reason": "x"}) if method in {"POST", "PUT"} else None
    async with house.client("token-of-ben") as client:
        answer = await client.request(method, place, json=body, headers={"idempotency-key": "k"})
    code: int = answer.status_code
    return code


@pytest.mark.parametrize(("method", "path", "rule"), RULED)
async def test_without_a_right_nothing_moves(method: str, path: str, rule: Rule, house: House, api: Listener) -> None:
    before = await house.started()
    api.answers[RIGHTS] = lambda _: may(everything=False)
    assert await _asked(house, method, path) == 403
    asked = {body["spec"]["resourceAttributes"]["verb"] for at, body in api.asked if at == RIGHTS}
    assert asked & {right.value for right in rule.rights}
    assert await house.releases.list(None) == [before]
    assert not await house.freezes.list(None)


@pytest.mark.parametrize(("method", "path", "rule"), RULED)
@pytest.mark.parametrize("which", [REVIEWS, RIGHTS])
async def test_while_the_kubernetes_api_says_nothing_nothing_moves(
    method: str, path: str, rule: Rule, which: str, house: House, api: Listener
) -> None:
    before = await house.started()
    api.answers[which] = lambda _: Said({}, 503)
    assert await _asked(house, method, path) == 503, rule
    assert await house.releases.list(None) == [before]
    assert not await house.freezes.list(None)
