"""What every `ports.Freezes` does: one suite for the fake and for the adapter on both API servers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pytest

from rollout.adapters.cluster import Cluster
from rollout.adapters.freezes import ClusterFreezes
from rollout.core.freeze import Freeze, FreezeSpec
from rollout.core.release import API_VERSION
from rollout.core.route import Unavailable
from rollout.ports import Freezes, NotFound, Outage, Refused
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.fakes.freezes import FakeFreezes

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SPEC = FreezeSpec(until=NOON, reason="sale", by="ann", at=NOON)
ALL = SPEC.model_copy(update={"everywhere": True})
JsonObject = dict[str, Any]


class Stage(Protocol):
    """Where freezes are kept, in three namespaces, and the hands of others."""

    freezes: Freezes
    home: str
    shop: str
    pay: str

    async def put(self, namespace: str, name: str, spec: JsonObject) -> None: ...
    async def break_down(self) -> None: ...


class FakeStage:
    def __init__(self) -> None:
        self.home, self.shop, self.pay = "rollout", "shop", "pay"
        self._fake = FakeFreezes(self.home, (self.home, self.shop, self.pay))
        self.freezes: Freezes = self._fake

    async def put(self, namespace: str, name: str, spec: JsonObject) -> None:
        self._fake.put_by_hand(namespace, name, FreezeSpec.model_validate(spec))

    async def break_down(self) -> None:
        self._fake.fail("down")


class ServerStage:
    def __init__(self, cluster: Cluster, server: KubernetesServer | None, names: tuple[str, str, str]) -> None:
        self._cluster = cluster
        self._server = server
        self.home, self.shop, self.pay = names
        self.freezes: Freezes = ClusterFreezes(cluster, self.home)

    async def put(self, namespace: str, name: str, spec: JsonObject) -> None:
        obj = {"apiVersion": API_VERSION, "kind": "Freeze", "metadata": {"name": name}, "spec": spec}
        await self._cluster.create(f"/apis/{API_VERSION}/namespaces/{namespace}/freezes", obj)

    async def break_down(self) -> None:
        assert self._server is not None, "the real server is everybody's"
        await self._server.stop()


@asynccontextmanager
async def _on_server(plane: ControlPlane | None, tmp_path: Path) -> AsyncIterator[Stage]:
    kubeconfig, server = tmp_path / "kubeconfig", None
    if plane is not None:
        plane.write_kubeconfig(kubeconfig, "default")
    else:
        server = KubernetesServer()
        await server.start()
        server.write_kubeconfig(kubeconfig)
    try:
        async with await Cluster.connect(kubeconfig) as cluster:
            body = {"metadata": {"generateName": "freeze-"}}
            made = [await cluster.create("/api/v1/namespaces", body) for _ in range(3)]
            home, shop, pay = (one["metadata"]["name"] for one in made)
            yield ServerStage(cluster, server, (home, shop, pay))
    finally:
        if server is not None:
            await server.stop()


@pytest.fixture(params=["fake", "embedded", "real"])
def kind(request: pytest.FixtureRequest) -> ControlPlane | str:
    found: ControlPlane | str = request.getfixturevalue("control_plane") if request.param == "real" else request.param
    return found


@asynccontextmanager
async def _opened(kind: ControlPlane | str, tmp_path: Path) -> AsyncIterator[Stage]:
    if kind == "fake":
        yield FakeStage()
        return
    async with _on_server(None if isinstance(kind, str) else kind, tmp_path) as one:
        yield one


@pytest.fixture
async def stage(kind: ControlPlane | str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with _opened(kind, tmp_path) as one:
        yield one


@pytest.fixture(params=["fake", "embedded"])
async def own_stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """On a server that a test may stop."""
    async with _opened(request.param, tmp_path) as one:
        yield one


async def scopes(stage: Stage, namespace: str, service: str = "checkout") -> set[str]:
    found = await stage.freezes.of(namespace, service)
    assert not isinstance(found, Unavailable), found
    return {one.scope for one in found}


async def all_known(stage: Stage) -> set[tuple[str, str]]:
    """Those of this stage's namespaces; a real server is everybody's."""
    ours = {stage.home, stage.shop, stage.pay}
    return {(one.namespace, one.name) for one in await stage.freezes.list(None) if one.namespace in ours}


# setting


@pytest.mark.parametrize("service", [None, "checkout"])
async def test_a_freeze_is_read_back_as_it_was_set(stage: Stage, service: str | None) -> None:
    freeze = await stage.freezes.put(stage.shop, SPEC.model_copy(update={"service": service}))
    assert freeze.spec == SPEC.model_copy(update={"service": service})
    assert freeze.namespace == stage.shop
    assert await stage.freezes.of(stage.shop, "checkout") == (freeze,)


async def test_a_freeze_of_everything_is_kept_at_home(stage: Stage) -> None:
    freeze = await stage.freezes.put(None, ALL)
    assert (freeze.namespace, freeze.scope, freeze.spec) == (stage.home, "all", ALL)
    for namespace in (stage.home, stage.shop, stage.pay, "nowhere"):
        assert await stage.freezes.of(namespace, "checkout") == (freeze,)


async def test_setting_a_freeze_again_replaces_it_and_all_that_it_said(stage: Stage) -> None:
    await stage.freezes.put(stage.shop, SPEC)
    second = await stage.freezes.put(stage.shop, FreezeSpec(by="bob"))
    assert second.spec == FreezeSpec(by="bob")
    assert await stage.freezes.of(stage.shop, "checkout") == (second,)


async def test_freezes_of_different_scopes_stand_beside_one_another(stage: Stage) -> None:
    await stage.freezes.put(None, ALL)
    await stage.freezes.put(stage.shop, SPEC)
    await stage.freezes.put(stage.shop, SPEC.model_copy(update={"service": "checkout"}))
    await stage.freezes.put(stage.shop, SPEC.model_copy(update={"service": "namespace"}))
    assert await scopes(stage, stage.shop) == {"all", stage.shop, f"{stage.shop}/checkout"}


async def test_many_who_set_the_same_freeze_at_once_set_one(stage: Stage) -> None:
    found = await asyncio.gather(
        *(stage.freezes.put(stage.shop, FreezeSpec(by=f"person {number}")) for number in range(4)),
        return_exceptions=True,
    )
    told = [one for one in found if isinstance(one, Freeze)]
    (standing,) = await stage.freezes.list(stage.shop)
    assert standing in told


@pytest.mark.parametrize(("everywhere", "named"), [(True, True), (False, False)])
async def test_a_freeze_is_either_of_a_namespace_or_of_everything(
    stage: Stage, *, everywhere: bool, named: bool
) -> None:
    spec = SPEC.model_copy(update={"everywhere": everywhere})
    with pytest.raises(Refused):
        await stage.freezes.put(stage.shop if named else None, spec)
    assert await all_known(stage) == set()


async def test_a_namespace_that_is_not_there_cannot_be_frozen(stage: Stage) -> None:
    with pytest.raises(NotFound):
        await stage.freezes.put("nowhere-at-all", SPEC)


# whom they concern


async def test_a_freeze_concerns_its_own_scope_alone(stage: Stage) -> None:
    await stage.freezes.put(stage.shop, SPEC.model_copy(update={"service": "checkout"}))
    await stage.freezes.put(stage.pay, SPEC)
    assert await scopes(stage, stage.shop, "checkout") == {f"{stage.shop}/checkout"}
    assert await scopes(stage, stage.shop, "cart") == set()
    assert await scopes(stage, stage.pay, "cart") == {stage.pay}
    assert await scopes(stage, stage.home, "cart") == set()


async def test_everything_is_frozen_from_home_only_and_elsewhere_it_means_the_namespace(stage: Stage) -> None:
    await stage.put(stage.shop, "mine", {"everywhere": True})
    assert await scopes(stage, stage.shop) == {stage.shop}
    assert await scopes(stage, stage.pay) == set()
    await stage.put(stage.home, "black-friday", {"everywhere": True})
    assert await scopes(stage, stage.pay) == {"all"}


async def test_a_freeze_of_the_home_namespace_is_not_one_of_everything(stage: Stage) -> None:
    await stage.freezes.put(stage.home, SPEC)
    assert await scopes(stage, stage.home) == {stage.home}
    assert await scopes(stage, stage.shop) == set()


async def test_a_freeze_that_says_nothing_is_for_its_namespace_and_for_ever(stage: Stage) -> None:
    await stage.put(stage.shop, "quiet", {})
    (freeze,) = await stage.freezes.list(stage.shop)
    assert (freeze.scope, freeze.spec) == (stage.shop, FreezeSpec())


# listing


async def test_a_list_is_of_a_namespace_and_of_everything_or_of_all(stage: Stage) -> None:
    await stage.freezes.put(None, ALL)
    await stage.freezes.put(stage.home, SPEC)
    await stage.freezes.put(stage.shop, SPEC)
    await stage.freezes.put(stage.pay, SPEC.model_copy(update={"service": "cart"}))
    assert {one.scope for one in await stage.freezes.list(stage.shop)} == {"all", stage.shop}
    assert {one.scope for one in await stage.freezes.list(stage.home)} == {"all", stage.home}
    assert await all_known(stage) == {
        (stage.home, "all"), (stage.home, "namespace"), (stage.shop, "namespace"), (stage.pay, "service-cart"),
    }  # fmt: skip


# lifting


async def test_a_freeze_is_lifted_once_and_no_other_with_it(stage: Stage) -> None:
    await stage.freezes.put(None, ALL)
    await stage.freezes.put(stage.shop, SPEC)
    await stage.freezes.put(stage.shop, SPEC.model_copy(update={"service": "checkout"}))
    assert await stage.freezes.remove(stage.shop, None)
    assert not await stage.freezes.remove(stage.shop, None)
    assert await scopes(stage, stage.shop) == {"all", f"{stage.shop}/checkout"}
    assert await stage.freezes.remove(stage.shop, "checkout")
    assert await stage.freezes.remove(None, None)
    assert await all_known(stage) == set()


async def test_a_freeze_that_was_set_by_hand_is_lifted_with_its_scope(stage: Stage) -> None:
    await stage.put(stage.shop, "black-friday", {"reason": "sale"})
    await stage.put(stage.shop, "cart-only", {"service": "cart"})
    assert await stage.freezes.remove(stage.shop, None)
    assert await scopes(stage, stage.shop, "cart") == {f"{stage.shop}/cart"}


async def test_many_who_lift_the_same_freeze_at_once_lift_it(stage: Stage) -> None:
    await stage.freezes.put(stage.shop, SPEC)
    assert any(await asyncio.gather(*(stage.freezes.remove(stage.shop, None) for _ in range(4))))
    assert await scopes(stage, stage.shop) == set()


async def test_nothing_to_lift_is_no_error(stage: Stage) -> None:
    assert not await stage.freezes.remove(None, None)
    assert not await stage.freezes.remove(stage.shop, "checkout")
    assert not await stage.freezes.remove("nowhere", None)


# without a server


async def test_without_a_server_nobody_knows_what_is_frozen_and_nothing_can_be_asked(own_stage: Stage) -> None:
    await own_stage.break_down()
    assert isinstance(await own_stage.freezes.of(own_stage.shop, "checkout"), Unavailable)
    assert isinstance(await own_stage.freezes.of(own_stage.shop, "checkout", remembered=True), Unavailable)
    for call in (
        own_stage.freezes.list(None),
        own_stage.freezes.list(own_stage.shop),
        own_stage.freezes.put(own_stage.shop, SPEC),
        own_stage.freezes.remove(own_stage.shop, None),
    ):
        with pytest.raises(Outage):
            await call
