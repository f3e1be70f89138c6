"""JSON Schema of policies and settings, for editors and for `check-jsonschema`; and of any model, for the CRDs.

pydantic's own schema shows defaults as Python holds them (`PT5M`, 0.05) and titles no person would write; here they are
as they are spelled in a file. What a schema cannot say (weights rise, bounds are bucket bounds) only the model checks.
"""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from rollout.administration import ControllerConfig
from rollout.core.policy import ServicePolicy

Schema = dict[str, Any]


def policy_schema() -> Schema:
    """JSON Schema (draft 2020-12) of a policy file's document."""
    return _document_schema(ServicePolicy)


def settings_schema() -> Schema:
    """The same of a file of the administrator's settings."""
    return _document_schema(ControllerConfig)


def _document_schema(model: type[BaseModel]) -> Schema:
    schema = model_schema(model)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": schema.pop("title")}
    return head | schema


def model_schema(model: type[BaseModel]) -> Schema:
    """JSON Schema of a model in its wire spelling (camelCase), with defaults as they are written."""
    schema = model.model_json_schema(by_alias=True)
    definitions = {**schema.get("$defs", {}), model.__name__: schema}
    for one in models_of(model):
        # A field may say its schema itself (an objective may be text), and then its model has no definition.
        if one.__name__ in definitions:
            _finish(one, definitions[one.__name__])
    return schema


def inlined(node: Schema, definitions: dict[str, Schema]) -> Schema:
    """The node with its `$ref` replaced by what it names; the node's own words (description, default) win."""
    if "$ref" not in node:
        return node
    own = {key: value for key, value in node.items() if key != "$ref"}
    return {**definitions[node["$ref"].rpartition("/")[2]], **own}


def models_of(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A model and all that its fields lead to, each once."""
    return _models(model, set())


def _models(annotation: Any, seen: set[Any]) -> Iterator[type[BaseModel]]:
    """The models an annotation leads to, itself first, each once."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        seen.add(annotation)
        yield annotation
        for field in annotation.model_fields.values():
            yield from _models(field.annotation, seen)
    for argument in get_args(annotation):
        yield from _models(argument, seen)


def _finish(model: type[BaseModel], schema: Schema) -> None:
    defaults = model.model_construct().model_dump(mode="json", by_alias=True)
    for name, field in model.model_fields.items():
        alias = field.alias or name
        node = schema["properties"][alias]
        if "$ref" not in node:
            node["title"] = name.replace("_", " ").capitalize()
        node.pop("default", None)
        if not field.is_required() and defaults[alias] is not None:
            node["default"] = defaults[alias]
