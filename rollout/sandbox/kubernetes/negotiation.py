"""Media types and bodies: what a client sent and what it wants back.

Belongs here: Accept, Content-Type, size and syntax of bodies. Does not belong here: meaning of bodies.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent
from starlette.requests import Request

from rollout.sandbox.kubernetes.refusals import (
    bad_request,
    not_acceptable,
    too_large,
    unsupported_media_type,
)
from rollout.sandbox.kubernetes.resources import JsonObject

BODY_LIMIT: Final = 1024 * 1024
"""Bytes. The real server takes 3 MiB, but etcd behind it refuses objects over 1.5 MiB."""

JSON: Final = "application/json"
YAML_TYPE: Final = "application/yaml"
_JSON_ACCEPTED: Final = frozenset(
    {"*/*", "application/*", JSON, "application/com.github.proto-openapi.spec.v2@v1.0+json"}
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The form of the answer: a Table, only the metadata, or neither: whole objects."""

    table: bool = False
    metadata: bool = False


def wanted(accept: str) -> Wanted:
    """Read an `Accept` header; the first clause we can serve wins.

    Raises:
        Refused: 406, nothing in it is JSON.
    """
    if not accept.strip():
        return Wanted()
    for clause in accept.split(","):
        media, *parameters = (part.strip() for part in clause.split(";"))
        if media not in _JSON_ACCEPTED:
            continue
        values = dict(part.partition("=")[::2] for part in parameters)
        if "as" not in values:
            return Wanted()
        if (values.get("g"), values.get("v")) == ("meta.k8s.io", "v1"):
            if values["as"] == "Table":
                return Wanted(table=True)
            if values["as"] in {"PartialObjectMetadata", "PartialObjectMetadataList"}:
                return Wanted(metadata=True)
    raise not_acceptable()


def media_type(request: Request) -> str:
    """The `Content-Type` without parameters, lower case; empty if there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def body_of(request: Request) -> bytes:
    """The whole body.

    Raises:
        Refused: 413, larger than `BODY_LIMIT`.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_LIMIT:
            raise too_large(BODY_LIMIT)
        chunks.append(chunk)
    return b"".join(chunks)


def _no_constants(name: str) -> Any:
    raise ValueError(f"invalid character in JSON: {name}")


def parse_json(body: bytes) -> Any:
    """Decode strict JSON: no NaN, no Infinity.

    Raises:
        Refused: 400.
    """
    try:
        return json.loads(body, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error


def parse_yaml(body: bytes) -> Any:
    """Decode one YAML document without aliases; timestamps stay strings, as in Kubernetes.

    Raises:
        Refused: 400.
    """
    try:
        if any(isinstance(event, AliasEvent) for event in YAML(typ="safe", pure=True).parse(body)):
            raise bad_request("yaml: aliases are not supported here")
        yaml = YAML(typ="safe", pure=True)
        yaml.constructor.add_constructor("tag:yaml.org,2002:timestamp", lambda _constructor, node: node.value)
        return yaml.load(body)
    except (YAMLError, ValueError, RecursionError) as error:
        raise bad_request(f"error converting YAML to JSON: {error}") from error


def parse_object(body: bytes, media: str) -> JsonObject:
    """Decode the body of a create or replace.

    Raises:
        Refused: 400, empty or no object; 415, protobuf or anything else that is neither JSON nor YAML.
    """
    if media in {"", JSON}:
        found = parse_json(body)
    elif media in {YAML_TYPE, "text/yaml", "application/x-yaml"}:
        found = parse_yaml(body)
    else:
        raise unsupported_media_type((JSON, YAML_TYPE))
    if not isinstance(found, dict):
        raise bad_request("the object provided is unrecognized (must be of type Object)")
    return found


def parse_apply(body: bytes) -> JsonObject:
    """Decode an apply patch: YAML, of which the JSON that clients send is the fast case.

    Raises:
        Refused: 400.
    """
    return parse_object(body, JSON if body.lstrip().startswith(b"{") else YAML_TYPE)


def to_json(value: Any) -> bytes:
    """Encode compactly."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
