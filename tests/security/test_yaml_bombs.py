"""Text that is small and becomes large, deep or slow when it is read."""

import time

import pytest

from tests.api.house import House

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
TEXTS = {
    "aliases": BOMB,
    "one alias to itself": "&a [*a]",
    "merges": "a: &a {b: 1}\nc: {<<: [" + ",".join(["*a"] * 500) + "]}",
    "deep lists": "[" * 5000,
    "deep maps": "{a: " * 5000,
    "a name twice": "kind: ServicePolicy\nkind: Other\n",
    "a tag that would make an object": "!!python/object/apply:os.system ['true']",
    "a long number": "spec: " + "9" * 20_000,
    "many documents": "---\n" * 10_000,
}


@pytest.mark.parametrize("what", TEXTS)
async def test_the_api_refuses_at_once(what: str, house: House) -> None:
    async with house.client("token-of-ann") as client:
        began = time.monotonic()
        answer = await client.post("/v1/validate", content=TEXTS[what], headers={"content-type": "application/yaml"})
        took = time.monotonic() - began
    assert answer.status_code in {400, 413, 422}, answer.text
    assert len(answer.content) < 64 * 1024
    # Milliseconds, as a rule; the machine may be busy.
    assert took < 5


@pytest.mark.parametrize("body", ["[" * 30_000, '{"a":' * 10_000, '{"namespace": "shop", "namespace": "pay"}', "1e999"])
async def test_json_is_no_way_round_it(body: str, house: House) -> None:
    headers = {"content-type": "application/json", "idempotency-key": "k"}
    async with house.client("token-of-ann") as client:
        answer = await client.post("/v1/releases", content=body, headers=headers)
    assert answer.status_code in {400, 422}, answer.text
