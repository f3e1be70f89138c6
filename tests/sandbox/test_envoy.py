"""The translation, believed by a real Envoy."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from rollout.sandbox import shop
from rollout.sandbox.clusters import Config, Endpoint, clusters
from rollout.sandbox.envoy import Envoy
from rollout.sandbox.http1 import Answer, Request, listen
from rollout.sandbox.routes import route_configuration

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]
HOST = {"host": shop.HOST}


class Mesh:
    """An Envoy, and a backend per version."""

    def __init__(self, envoy: Envoy, endpoints: Sequence[Endpoint], client: httpx2.AsyncClient) -> None:
        self.envoy = envoy
        self.endpoints = endpoints
        self.client = client

    async def order(self, *http: dict[str, Any], versions: tuple[str, ...] = ("v1", "v2"), **more: Any) -> None:
        """Make these the http rules, and wait until Envoy has taken or refused them."""
        virtual_service = shop.virtual_service()
        virtual_service["spec"]["http"] = list(http)
        config = Config(
            **{
                "services": [shop.kubernetes_service()],
                "virtual_services": [virtual_service],
                "destination_rules": [shop.destination_rule(versions=versions)],
                "endpoints": self.endpoints,
                "source_namespace": shop.NAMESPACE,
                **more,
            }
        )
        before = await self.updates()
        await self.envoy.update(clusters(config), route_configuration(config, exact_split=True))
        for _ in range(2000):
            if await self.updates() > before:
                return
        raise AssertionError("envoy did not react")

    async def updates(self) -> int:
        """How many route updates Envoy has taken or refused."""
        query = {"format": "json", "filter": r"rds\.http\.80\.update_(success|rejected)"}
        stats = (await self.client.get(f"{self.envoy.admin_url}/stats", params=query)).json()["stats"]
        return sum(stat["value"] for stat in stats)

    async def get(self, path: str = "/", **headers: str) -> httpx2.Response:
        """One request."""
        return await self.client.get(f"{self.envoy.url}{path}", headers={**HOST, **headers})


def to(subset: str, weight: int | None = None) -> dict[str, Any]:
    destination = {"destination": {"host": "checkout", "subset": subset}}
    return destination if weight is None else {**destination, "weight": weight}


def backend(version: str) -> Any:
    def answer(request: Request) -> Answer:
        delay = 0.2 if request.target == "/slow" else 0.0
        return Answer(200, request.target.encode(), (("x-version", version),), delay)

    return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def mesh(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        endpoints = []
        for version in ("v1", "v2"):
            listener = await listen(backend(version))
            stack.callback(listener.close)
            labels = {"app": "checkout", "version": version}
            endpoints.append(Endpoint(shop.NAMESPACE, f"checkout-{version}", listener.port, labels))
        client = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False))
        envoy = Envoy(tmp_path_factory.mktemp("envoy"), source="load", namespace=shop.NAMESPACE)
        stack.push_async_callback(envoy.stop)
        await envoy.start([], route_configuration(Config()))
        yield Mesh(envoy, endpoints, client)


@pytest.mark.parametrize("share", [1, 10, 33, 50, 99])
async def test_a_split_is_exact_by_sequence(mesh: Mesh, share: int) -> None:
    await mesh.order({"route": [to("v1", 100 - share), to("v2", share)]})
    seen = Counter([(await mesh.get(**{"x-sandbox-seq": str(n)})).headers["x-version"] for n in range(200)])
    assert seen == {"v1": 200 - 2 * share, "v2": 2 * share}


async def test_the_first_matching_rule_wins(mesh: Mesh) -> None:
    canary = {"match": [{"headers": {"x-canary": {"exact": "always"}}}], "route": [to("v2")]}
    await mesh.order(canary, {"name": "primary", "route": [to("v1")]})
    assert (await mesh.get(**{"x-canary": "always"})).headers["x-version"] == "v2"
    assert (await mesh.get(**{"x-canary": "never"})).headers["x-version"] == "v1"


async def test_an_undeclared_subset_answers_503_for_its_share_only(mesh: Mesh) -> None:
    await mesh.order({"route": [to("v1", 70), to("v9", 30)]})
    seen = Counter([(await mesh.get(**{"x-sandbox-seq": str(n)})).status_code for n in range(100)])
    assert seen == {200: 70, 503: 30}


async def test_a_subset_without_endpoints_answers_503_for_its_share_only(mesh: Mesh) -> None:
    await mesh.order({"route": [to("v1", 70), to("v2", 30)]}, endpoints=mesh.endpoints[:1])
    seen = Counter([(await mesh.get(**{"x-sandbox-seq": str(n)})).status_code for n in range(100)])
    assert seen == {200: 70, 503: 30}


async def test_an_unknown_host_is_not_found(mesh: Mesh) -> None:
    answer = await mesh.client.get(mesh.envoy.url, headers={"host": "nobody.shop.svc.cluster.local"})
    assert answer.status_code == 404


async def test_the_short_name_reaches_the_service_too(mesh: Mesh) -> None:
    await mesh.order({"route": [to("v1")]}, {"route": [to("v2")]})
    assert (await mesh.client.get(mesh.envoy.url, headers={"host": "checkout"})).headers["x-version"] == "v1"


async def test_a_timeout_ends_a_slow_answer_with_504(mesh: Mesh) -> None:
    await mesh.order({"route": [to("v1")], "timeout": "50ms"})
    assert (await mesh.get("/slow")).status_code == 504
    assert (await mesh.get("/fast")).status_code == 200


async def test_rewrites_redirects_direct_responses_and_headers_do_what_they_say(mesh: Mesh) -> None:
    await mesh.order(
        {"match": [{"uri": {"prefix": "/api/"}}], "rewrite": {"uri": "/"}, "route": [to("v1")]},
        {"match": [{"uri": {"exact": "/old"}}], "redirect": {"uri": "/new"}},
        {"match": [{"uri": {"exact": "/tea"}}], "directResponse": {"status": 418, "body": {"string": "pot"}}},
        {
            "route": [{**to("v1"), "headers": {"response": {"set": {"x-destination": "v1"}}}}],
            "headers": {"response": {"set": {"x-route": "last"}}},
        },
    )
    answer = await mesh.get("/")
    assert (answer.headers["x-destination"], answer.headers["x-route"]) == ("v1", "last")
    assert (await mesh.get("/api/cart")).text == "/cart"
    assert (await mesh.get("/old")).headers["location"].endswith("/new")
    assert ((tea := await mesh.get("/tea")).status_code, tea.text) == (418, "pot")


async def test_what_envoy_refuses_is_counted_and_the_old_routes_stay(mesh: Mesh) -> None:
    await mesh.order({"route": [to("v1")]})
    before = await mesh.envoy.rejected()
    await mesh.order({"route": [to("v1", 0), to("v2", 0)]})
    assert await mesh.envoy.rejected() == before + 1
    assert (await mesh.get()).headers["x-version"] == "v1"
    await mesh.order({"route": [to("v2")]})
    assert (await mesh.get()).headers["x-version"] == "v2"
