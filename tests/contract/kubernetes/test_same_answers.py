"""The embedded server and the real one, asked the same questions: they give the same answers."""

import itertools

import pytest

from rollout.documents.crd import policy_crd, release_crd
from rollout.sandbox.control_plane import ControlPlane
from rollout.sandbox.kubernetes.cel import compiled
from rollout.sandbox.kubernetes.rules import rules_in
from rollout.sandbox.kubernetes.schemas import UNDERSTOOD
from rollout.sandbox.kubernetes.server import KubernetesServer
from tests.contract.kubernetes import exchanges, exchanges_ours, exchanges_reading
from tests.contract.kubernetes.client import JsonObject, connect
from tests.contract.kubernetes.transcript import EXCHANGES, transcript

_numbers = itertools.count(1)


def test_there_is_something_to_ask() -> None:
    modules = (exchanges, exchanges_ours, exchanges_reading)
    assert {play.__module__ for play in EXCHANGES.values()} == {module.__name__ for module in modules}


@pytest.mark.parametrize("name", EXCHANGES)
async def test_both_servers_give_the_same_answers(
    name: str, embedded: KubernetesServer, control_plane: ControlPlane
) -> None:
    namespace = f"same-{next(_numbers)}"
    async with connect(embedded.url) as ours, control_plane.client() as theirs:
        told = await transcript(ours, namespace, EXCHANGES[name])
        wanted = await transcript(theirs, namespace, EXCHANGES[name])
    for answer, want in zip(told, wanted, strict=True):
        assert answer == want
    assert wanted


def _schemas() -> list[JsonObject]:
    versions = [version for crd in (release_crd(), policy_crd()) for version in crd["spec"]["versions"]]
    return [version["schema"]["openAPIV3Schema"] for version in versions]


@pytest.mark.parametrize("schema", _schemas(), ids=["Release", "ServicePolicy"])
def test_every_rule_and_keyword_of_our_definitions_is_understood(schema: JsonObject) -> None:
    rules = set(rules_in(schema))
    assert all(map(compiled, rules))
    assert _keywords(schema) <= UNDERSTOOD


def _keywords(schema: JsonObject) -> set[str]:
    below = [*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")]
    return set(schema).union(*(_keywords(inner) for inner in below if isinstance(inner, dict)))
