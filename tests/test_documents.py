"""What is generated from the code is in the repository as it would be generated now, and is what its readers take."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml  # type: ignore[import-untyped] # comes with the Kubernetes client; it reads YAML 1.1, as kubectl does
from pydantic.alias_generators import to_camel
from ruamel.yaml import YAML

from rollout.core.events import CATALOGUE, CONTEXT, Notice
from rollout.core.freeze import FreezeSpec
from rollout.core.policy import ServicePolicy
from rollout.core.release import Phase, ReleaseSpec, Status
from rollout.documents.__main__ import MARKED, WHOLE, generated, main
from rollout.documents.crd import EITHER, freeze_crd, policy_crd, release_crd
from rollout.documents.marked import replaced
from rollout.documents.rules import FIELDS, MODELS
from rollout.documents.schema import models_of, policy_schema
from rollout.documents.tables import event_table, fields, policy_table
from rollout.documents.words import WORDS

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = (
    "config/minimal.yaml",
    "config/full.yaml",
    "config/routes.yaml",
    "config/schedule.yaml",
    "deploy/base/policies/checkout.yaml",
)
POLICY = {
    "apiVersion": "rollout.dev/v1alpha1",
    "kind": "ServicePolicy",
    "metadata": {"name": "checkout", "namespace": "shop"},
}


CRDS = (release_crd(), policy_crd(), freeze_crd())
CRD_NAMES = [crd["spec"]["names"]["kind"] for crd in CRDS]


def _yaml(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path)


def _documents(path: Path) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(path))


def _schema_accepts(policy: object) -> bool:
    return jsonschema.Draft202012Validator(policy_schema()).is_valid(policy)


@pytest.mark.parametrize("name", [*WHOLE, *MARKED])
def test_a_generated_file_is_as_it_would_be_generated_now(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == generated(ROOT)[ROOT / name], "run `make generate`"


def test_a_stale_file_fails_the_check_and_is_mended_by_generating(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in MARKED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert not (tmp_path / "deploy").exists()
    assert main(["--root", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["--check", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
    events = tmp_path / "docs/events.md"
    events.write_text(events.read_text(encoding="utf-8").replace("rollback.done", "rollback.over"), encoding="utf-8")
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert "rollback.over" in capsys.readouterr().out


# The passage between two markers


def test_only_the_lines_between_the_markers_are_replaced() -> None:
    document = "before\n<!-- x:begin -->\nold\n<!-- x:end -->\nafter <!-- y:begin -->\n"
    once = replaced(document, "x", "new\nlines\n")
    assert once == "before\n<!-- x:begin -->\n\nnew\nlines\n\n<!-- x:end -->\nafter <!-- y:begin -->\n"
    assert replaced(once, "x", "new\nlines") == once


@pytest.mark.parametrize(
    "document",
    [
        "",
        "<!-- x:begin -->\n",
        "<!-- x:end -->\n",
        "<!-- x:end -->\n<!-- x:begin -->\n",
        "<!-- x:begin -->\n<!-- x:begin -->\n<!-- x:end -->\n",
    ],
)
def test_a_document_without_its_markers_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="x:begin"):
        replaced(document, "x", "new")


# JSON Schema for editors


def test_the_schema_is_a_valid_schema_and_takes_the_examples() -> None:
    jsonschema.Draft202012Validator.check_schema(policy_schema())
    for name in EXAMPLES:
        assert all(map(_schema_accepts, _documents(ROOT / name))), name
        for document in _documents(ROOT / name):
            ServicePolicy.model_validate(document, by_alias=True, by_name=False)


@pytest.mark.parametrize(
    "spec",
    [
        {"intervall": "5s"},
        {"interval": 5},
        {"interval": "5 s"},
        {"interval": ""},
        {"checks": {"errors": {"max": 0.05}}},
        {"checks": {"errors": {"max": "5"}}},
        {"checks": {"minRequests": 0}},
        {"checks": {"min_requests": 5}},
        {"checks": {"latency": {"objectives": ["p99"]}}},
        {"checks": {"latency": {"objectives": [{"bound": "5s"}]}}},
        {"steps": []},
        {"steps": [{"weight": 0}]},
        {"steps": [{"hold": "5m"}]},
        {"metrics": {"reporters": ["both"]}},
        {"podLabel": "-"},
        {"schedule": {"windows": [{"from": "9:00"}]}},
        {"schedule": {"windows": [{"days": ["Monday"]}]}},
        {"schedule": {"freezes": [{"from": "today", "until": "2026-12-24"}]}},
        {"gates": [{"name": "a", "before": "end"}]},
        {"gates": [{"name": "a", "before": 0}]},
        {"gates": [{"name": "a", "kind": "webhook", "use": "https://evil.example"}]},
        {"allowedTriggers": [{"issuer": "github", "repositoryId": "acme/checkout"}]},
    ],
)
def test_the_schema_refuses_what_an_editor_should_underline(spec: dict[str, Any]) -> None:
    assert not _schema_accepts(POLICY | {"spec": spec})


def _mappings(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    yield from schema["$defs"].values()


def test_every_mapping_of_the_schema_takes_only_known_keys_in_camel_case_with_a_title() -> None:
    for mapping in _mappings(policy_schema()):
        assert mapping["additionalProperties"] is False
        for name, node in mapping["properties"].items():
            assert name.isalnum()
            assert "$ref" in node or node["title"]


def test_the_defaults_of_the_schema_are_the_models_own_as_they_are_written() -> None:
    written = ServicePolicy.model_validate(POLICY).wire()
    assert json.loads(json.dumps(policy_schema()))["properties"]["spec"]["default"] == json.loads(
        json.dumps(ServicePolicy.model_validate(POLICY).spec.model_dump(mode="json", by_alias=True))
    )
    assert _schema_accepts(written)
    assert policy_schema()["$defs"]["Deadlines"]["properties"]["ready"]["default"] == "10m"


# Tables


def test_the_table_has_every_field_that_a_policy_can_hold() -> None:
    def paths(value: Any, prefix: str) -> Iterator[str]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield f"{prefix}{key}"
                yield from paths(inner, f"{prefix}{key}.")
        elif isinstance(value, list):
            for inner in value:
                yield from paths(inner, prefix.removesuffix(".") + "[].")

    table = policy_table()
    default = ServicePolicy.model_validate(POLICY).model_dump(mode="json", by_alias=True)
    for path in paths(default, ""):
        assert f"| `{path}` |" in table


def test_every_event_is_in_the_table_with_its_level_and_fields() -> None:
    lines = {line.split("`")[1]: line for line in event_table().splitlines()[2:]}
    assert lines.keys() == CATALOGUE.keys()
    for kind in CATALOGUE.values():
        assert f"| {kind.level.value} |" in lines[kind.name]
        assert all(f"`{field}`" in lines[kind.name] for field in kind.fields)
    document = (ROOT / "docs/events.md").read_text(encoding="utf-8")
    assert all(f"`{field}`" in document for field in CONTEXT)


def test_the_examples_name_every_field() -> None:
    def has(value: Any, path: list[str]) -> bool:
        if not path:
            return True
        key, many = path[0].removesuffix("[]"), path[0].endswith("[]")
        if not isinstance(value, dict) or key not in value:
            return False
        return any(has(one, path[1:]) for one in value[key]) if many else has(value[key], path[1:])

    # Shapes of a route exclude one another, so it takes more than one policy to name them all.
    examples = [one for name in ("full", "routes", "schedule") for one in _documents(ROOT / f"config/{name}.yaml")]
    missing = [field.path for field in fields() if not any(has(one, field.path.split(".")) for one in examples)]
    assert missing == []
    objectives = examples[0]["spec"]["checks"]["latency"]["objectives"]
    assert {type(one) for one in objectives} == {str, dict}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_names_its_schema_for_editors_in_its_first_line(name: str) -> None:
    first = (ROOT / name).read_text(encoding="utf-8").splitlines()[0]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert ((ROOT / name).parent / schema).resolve() == ROOT / "config/schema/service-policy.v1alpha1.json"


def test_the_minimal_example_is_four_lines_and_all_defaults() -> None:
    lines = (ROOT / "config/minimal.yaml").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if not line.startswith("#")]) == 4
    assert (
        ServicePolicy.model_validate(_yaml(ROOT / "config/minimal.yaml")).spec
        == ServicePolicy.model_validate(POLICY).spec
    )


@pytest.mark.parametrize("name", ["docs/policy.md", "docs/schedule.md"])
def test_policies_in_the_documents_are_policies(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.+?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        ServicePolicy.model_validate(POLICY | YAML(typ="safe", pure=True).load(block), by_alias=True, by_name=False)


# CustomResourceDefinitions, by the rules of structural schemas (apiextensions-apiserver,
# pkg/apiserver/schema/validation.go and pkg/apis/apiextensions/validation)


def _nodes(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, node
    for name, inner in node.get("properties", {}).items():
        yield from _nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield from _nodes(node[key], f"{path}[]")


def _root(crd: dict[str, Any]) -> dict[str, Any]:
    (version,) = crd["spec"]["versions"]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


@pytest.mark.parametrize("crd", CRDS, ids=CRD_NAMES)
def test_the_schemas_are_structural(crd: dict[str, Any]) -> None:
    known = {
        "type", "description", "enum", "format", "pattern", "nullable", "required", "properties", "items",
        "additionalProperties", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum",
        "exclusiveMinimum", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-validations",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys", EITHER,
    }  # fmt: skip
    for path, node in _nodes(_root(crd)):
        assert node.keys() <= known, path
        assert "type" in node or node.get("x-kubernetes-preserve-unknown-fields") or node.get(EITHER), path
        assert not ("type" in node and EITHER in node), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert isinstance(node.get("exclusiveMinimum", False), bool), path
        assert "(?" not in node.get("pattern", ""), f"{path}: RE2 has no look-around"
        assert set(node.get("required", ())) <= node.get("properties", {}).keys(), path


@pytest.mark.parametrize("crd", CRDS, ids=CRD_NAMES)
def test_every_text_and_list_that_people_write_has_a_bound(crd: dict[str, Any]) -> None:
    for path, node in _nodes(_root(crd)["properties"]["spec"]):
        if node.get("type") == "string":
            assert node.keys() & {"maxLength", "enum"}, path
        if node.get("type") == "array":
            assert "maxItems" in node, path


@pytest.mark.parametrize("crd", CRDS, ids=CRD_NAMES)
def test_every_field_that_people_write_or_read_is_explained(crd: dict[str, Any]) -> None:
    root = _root(crd)
    read = [
        node for path, node in _nodes(root) if path.count(".") == 2 and path.startswith(".status.") and "[" not in path
    ]
    items = root["properties"].get("status", {}).get("properties", {})
    for name in ("conditions", "verdicts", "steps"):
        read += items.get(name, {}).get("items", {}).get("properties", {}).values()
    assert all(node.get("description") for node in read)
    for path, node in _nodes(root["properties"]["spec"], "spec"):
        # Items of a list are told of by the list.
        assert node.get("description") or path.endswith("[]"), path


def test_no_text_about_a_field_is_left_of_a_field_that_is_gone() -> None:
    models = {one.__name__: one for root in (ReleaseSpec, Status, FreezeSpec, ServicePolicy) for one in models_of(root)}
    for name in (*WORDS, *FIELDS):
        model, field = name.split(".")
        assert field in {one.alias or to_camel(key) for key, one in models[model].model_fields.items()}, name
    assert models.keys() >= MODELS.keys()


def test_the_api_server_refuses_no_status_and_drops_nothing_of_it() -> None:
    limits = {"enum", "pattern", "format", "required", "maxLength", "maxItems", "minimum", "maximum", "minItems"}
    status = _root(release_crd())["properties"]["status"]
    assert status["x-kubernetes-preserve-unknown-fields"] is True
    for path, node in _nodes(status):
        if path.endswith(".conditions[]"):
            # An item of a list that is a map has its key.
            assert node.pop("required") == ["type"]
        assert not node.keys() & limits, path


def test_the_status_schema_knows_every_field_that_the_controller_writes() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    notice = Notice(sequence=1, at=now, name="check.failed", fields={"value": 0.5, "check": "x", "limit": None})
    written = Status(phase=Phase.SHIFTING, started_at=now, outbox=(notice,)).wire()
    schema = _root(release_crd())["properties"]["status"]
    assert written.keys() <= schema["properties"].keys()
    plain = json.loads(json.dumps(schema).replace('"nullable": true, ', ""))
    assert jsonschema.Draft202012Validator(plain).is_valid(written)


def test_a_release_is_shown_with_its_columns_and_its_short_name() -> None:
    crd = release_crd()
    (version,) = crd["spec"]["versions"]
    assert version["subresources"] == {"status": {}}
    shown = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]
    assert shown == ["Service", "Version", "Phase", "Weight", "Step", "Reason", "Age"]
    assert crd["spec"]["names"]["shortNames"] == ["rel"]
    root = _root(crd)
    for column in version["additionalPrinterColumns"]:
        node = root
        for key in column["jsonPath"].strip(".").split("."):
            node = node["properties"].get(key, {"type": "date", "properties": {}}) if "properties" in node else {}
        assert node == {} or node["type"] == column["type"]


def test_a_freeze_is_shown_with_its_columns_and_has_no_status() -> None:
    (version,) = freeze_crd()["spec"]["versions"]
    shown = [column["name"] for column in version["additionalPrinterColumns"]]
    assert shown == ["Service", "Everywhere", "Until", "Reason", "By", "Age"]
    assert "status" not in _root(freeze_crd())["properties"]
    assert "subresources" not in version


def test_a_release_written_with_all_its_wishes_fits_its_schema() -> None:
    wishes = {
        "service": "checkout",
        "version": "v2",
        "onConflict": "supersede",
        "notBefore": "2026-11-21T12:00:00.000Z",
        "approvals": [{"gate": "tests", "by": "ann", "reason": "green"}],
        "policy": {"gates": [{"name": "a", "before": 30}, {"name": "b", "before": "promotion"}]},
    }
    written = ReleaseSpec.model_validate(wishes).wire()
    schema = json.loads(
        json.dumps(_root(release_crd())["properties"]["spec"]).replace('"exclusiveMinimum": true', '"x": 1')
    )
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(written)) == []


def test_the_file_means_the_same_to_readers_of_yaml_1_1_and_1_2() -> None:
    text = (ROOT / "deploy/base/crds.yaml").read_text(encoding="utf-8")
    assert list(yaml.safe_load_all(text)) == list(YAML(typ="safe", pure=True).load_all(text))
