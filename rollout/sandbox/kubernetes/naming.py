"""Which names, label values and annotation keys Kubernetes takes, and how it makes names up.

Belongs here: the syntax rules of k8s.io/apimachinery/pkg/util/validation. Does not belong here: answering
requests; these functions return causes.
"""

import random
import re
from typing import Final

from rollout.sandbox.kubernetes.refusals import Cause
from rollout.sandbox.kubernetes.resources import JsonObject, Resource

_LABEL_1123: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_ANNOTATIONS_LIMIT: Final = 256 * 1024
_SUFFIX_LETTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH: Final = 5
_GENERATED_LIMIT: Final = 63


def made_up_name(prefix: str) -> str:
    """`generateName` plus five random letters (apiserver storage/names/generate.go)."""
    suffix = "".join(random.choices(_SUFFIX_LETTERS, k=_SUFFIX_LENGTH))
    return prefix[: _GENERATED_LIMIT - _SUFFIX_LENGTH] + suffix


def _name_problem(resource: Resource, name: str) -> str | None:
    if resource.label_names:
        pattern = _LABEL_1035 if resource.label_names == "1035" else _LABEL_1123
        longest, rule = 63, f"a lowercase RFC {resource.label_names} label"
    else:
        pattern, longest, rule = _SUBDOMAIN, 253, "a lowercase RFC 1123 subdomain"
    if len(name) > longest:
        return f'Invalid value: "{name}": must be no more than {longest} characters'
    if not pattern.fullmatch(name):
        return (
            f"Invalid value: \"{name}\": {rule} must consist of lower case alphanumeric characters or '-'"
            f", and must start and end with an alphanumeric character (regex: '{pattern.pattern}')"
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
    causes += [
        Cause("metadata.labels", f'Invalid value: "{key}": name part must be a qualified name')
        for key in labels
        if not is_label_key(key)
    ]
    causes += [
        Cause("metadata.labels", f'Invalid value: "{value}": a valid label must be alphanumeric')
        for value in labels.values()
        if not is_label_value(value)
    ]
    causes += [
        Cause("metadata.annotations", f'Invalid value: "{key}": name part must be a qualified name')
        for key in annotations
        if not _is_qualified_name(key.lower())
    ]
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > _ANNOTATIONS_LIMIT:
        causes.append(Cause("metadata.annotations", f"Too long: may not be more than {_ANNOTATIONS_LIMIT} bytes"))
    return causes
