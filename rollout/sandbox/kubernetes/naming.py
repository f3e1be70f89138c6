"""Which names, label values and annotation keys Kubernetes takes, and how it makes names up.

Belongs here: the syntax rules of k8s.io/apimachinery/pkg/util/validation. Does not belong here: answering
requests; these functions return causes.
"""

import random
import re
from typing import Final

from rollout.sandbox.kubernetes.refusals import Cause
from rollout.sandbox.kubernetes.resources import NAMESPACES, JsonObject, Resource

_LABEL_1123: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_ANNOTATIONS_LIMIT: Final = 256 * 1024
_ENDS: Final = "must start and end with an alphanumeric character"
_NAME_RULE: Final = (
    f"must consist of alphanumeric characters, '-', '_' or '.', and {_ENDS} (e.g. 'MyName',  or 'my.name',  or "
    "'123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE: Final = (
    f"must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and {_ENDS} (e.g. 'MyValue',  "
    "or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
GARBAGE_COLLECTORS: Final = ("foregroundDeletion", "orphan")
"""The finalizers that only the garbage collector takes off."""
_SUFFIX_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH: Final = 5
_GENERATED_LIMIT: Final = 63


def made_up_name(prefix: str) -> str:
    """`generateName` plus five random letters (apiserver storage/names/generate.go)."""
    suffix = "".join(random.choices(_SUFFIX_LETTERS, k=_SUFFIX_LENGTH))
    return prefix[: _GENERATED_LIMIT - _SUFFIX_LENGTH] + suffix


def _name_problem(resource: Resource, name: str) -> str | None:
    letters, start = "alphanumeric characters or '-'", "start and end with an alphanumeric character"
    if resource.label_names == "1035":
        pattern, longest, rule, example = _LABEL_1035, 63, "a DNS-1035 label", "my-name',  or 'abc-123"
        start = "start with an alphabetic character, and end with an alphanumeric character"
    elif resource.label_names:
        pattern, longest, rule, example = _LABEL_1123, 63, "a lowercase RFC 1123 label", "my-name',  or '123-abc"
    else:
        pattern, longest, rule, example = _SUBDOMAIN, 253, "a lowercase RFC 1123 subdomain", "example.com"
        letters = "alphanumeric characters, '-' or '.'"
    if len(name) > longest:
        return f'Invalid value: "{name}": must be no more than {longest} characters'
    if not pattern.fullmatch(name):
        return (
            f'Invalid value: "{name}": {rule} must consist of lower case {letters}, and must {start}'
            f" (e.g. '{example}', regex used for validation is '{pattern.pattern}')"
        )
    return None


def _is_qualified_name(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not (_SUBDOMAIN.fullmatch(prefix) and len(prefix) <= 253):
        return False
    return len(name) <= 63 and _QUALIFIED.fullmatch(name) is not None


def is_label_value(value: str) -> bool:
    """Empty, or at most 63 characters of `[A-Za-z0-9_.-]` that start and end alphanumerically."""
    return value == "" or (len(value) <= 63 and _QUALIFIED.fullmatch(value) is not None)


def is_label_key(key: str) -> bool:
    """`name` or `dns.subdomain/name`."""
    return _is_qualified_name(key)


def _owner_causes(owner: JsonObject) -> list[Cause]:
    """Of one entry of `ownerReferences`: who owns must be said in full."""
    said = {"apiVersion": "version must not be empty"}
    return [
        Cause(f"metadata.ownerReferences.{key}", f'Invalid value: "": {said.get(key, "must not be empty")}')
        for key in ("apiVersion", "kind", "name", "uid")
        if not owner.get(key)
    ]


def warnings_about(metadata: JsonObject) -> list[str]:
    """What the server takes and warns about."""
    return [
        f'metadata.finalizers: "{name}": prefer a domain-qualified finalizer name to avoid accidental conflicts with '
        "other finalizer writers"
        for name in metadata.get("finalizers") or []
        if "/" not in name and name not in GARBAGE_COLLECTORS
    ]


def metadata_causes(resource: Resource, metadata: JsonObject) -> list[Cause]:
    """What is wrong with the metadata of an object about to be stored; empty if nothing is."""
    name = metadata.get("name")
    if not name:
        return [
            Cause(
                "metadata.name",
                "Required value: name or generateName is required",
                "FieldValueRequired",
            )
        ]
    causes = []
    if problem := _name_problem(resource, name):
        causes.append(Cause("metadata.name", problem))
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if resource is NAMESPACES:
        # Every namespace is labelled with its name.
        labels = {"kubernetes.io/metadata.name": name, **labels}
    causes += [
        Cause("metadata.labels", f'Invalid value: "{key}": name part {_NAME_RULE}')
        for key in labels
        if not is_label_key(key)
    ]
    causes += [
        Cause("metadata.labels", f'Invalid value: "{value}": a valid label {_VALUE_RULE}')
        for value in labels.values()
        if not is_label_value(value)
    ]
    causes += [
        Cause("metadata.annotations", f'Invalid value: "{key}": name part {_NAME_RULE}')
        for key in annotations
        if not _is_qualified_name(key.lower())
    ]
    causes += [cause for owner in metadata.get("ownerReferences") or [] for cause in _owner_causes(owner)]
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > _ANNOTATIONS_LIMIT:
        causes.append(Cause("metadata.annotations", f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes"))
    return causes
