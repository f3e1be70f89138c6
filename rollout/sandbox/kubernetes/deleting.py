"""Deleting: preconditions, finalizers, and the garbage collector's part of it.

Belongs here: what k8s.io/apiserver pkg/registry/rest/delete.go and registry/generic/registry/store.go do. Does not
belong here: owners and their dependents, which nobody looks for here: the collector's finalizers come off at once.
"""

import json
from collections.abc import Callable
from typing import Any, Final

from rollout.sandbox.kubernetes.naming import GARBAGE_COLLECTORS
from rollout.sandbox.kubernetes.refusals import Cause, Refused, bad_request, conflict_of_kind, invalid_options
from rollout.sandbox.kubernetes.resources import NAMESPACES, RESOURCES, JsonObject, Resource
from rollout.sandbox.kubernetes.store import Store

_FINALIZERS: Final = {"Foreground": "foregroundDeletion", "Orphan": "orphan", "Background": "", "": ""}


class Deletions:
    """Deletes objects of a store.

    Args:
        store: where they are.
        stamp: the server's time as a metav1.Time.
    """

    def __init__(self, store: Store, stamp: Callable[[], str]) -> None:
        self._store = store
        self._stamp = stamp

    def delete(
        self, resource: Resource, current: JsonObject, body: JsonObject, *, dry_run: bool
    ) -> tuple[JsonObject, bool]:
        """DELETE of one object; `body` is a DeleteOptions.

        Returns:
            The object, and whether it was gone at once: else the answer shows it as it ends.

        Raises:
            Refused: 400 or 422, options nobody understands; 409, a precondition does not hold.
        """
        asked = _list(body.get("dryRun"))
        if any(value != "All" for value in asked):
            why = f'Unsupported value: {json.dumps(asked)}: supported values: "All"'
            raise invalid_options("DeleteOptions", Cause("dryRun", why, "FieldValueNotSupported"))
        dry_run = dry_run or bool(asked)
        policy = body.get("propagationPolicy") or ""
        if policy not in _FINALIZERS:
            why = f'Unsupported value: "{policy}": supported values: "Foreground", "Background", "Orphan", "nil"'
            raise invalid_options("DeleteOptions", Cause("propagationPolicy", why, "FieldValueNotSupported"))
        _check_preconditions(resource, current, body.get("preconditions") or {})
        metadata = current["metadata"]
        kept = [name for name in metadata.get("finalizers") or [] if name not in GARBAGE_COLLECTORS]
        wanted = [*kept, *([_FINALIZERS[policy]] if _FINALIZERS[policy] else [])]
        if not wanted and resource is not NAMESPACES:
            return (current, True) if dry_run else (self._store.remove(resource, current), True)
        marked = self._marked(resource, current, wanted)
        if dry_run or marked == current:
            return marked, False
        marked = self._store.put(resource, marked)
        self._collect(resource, marked, kept)
        return marked, False

    def _marked(self, resource: Resource, current: JsonObject, finalizers: list[str]) -> JsonObject:
        metadata = {**current["metadata"]}
        if finalizers:
            metadata["finalizers"] = finalizers
        if metadata.get("deletionTimestamp"):
            return {**current, "metadata": metadata}
        metadata |= {"deletionTimestamp": self._stamp(), "deletionGracePeriodSeconds": 0}
        if resource is NAMESPACES:
            del metadata["deletionGracePeriodSeconds"]
            return {**current, "metadata": metadata, "status": {"phase": "Terminating"}}
        if "generation" in metadata:
            metadata["generation"] += 1
        return {**current, "metadata": metadata}

    def _collect(self, resource: Resource, marked: JsonObject, kept: list[str]) -> None:
        """What the controllers of a cluster do soon afterwards."""
        if resource is NAMESPACES:
            self._empty(marked["metadata"]["name"])
        if not kept:
            self._store.remove(resource, {**marked, "metadata": _without_finalizers(marked["metadata"])})
        elif kept != marked["metadata"]["finalizers"]:
            self._store.put(resource, {**marked, "metadata": {**marked["metadata"], "finalizers": kept}})

    def _empty(self, namespace: str) -> None:
        for resource in RESOURCES:
            if resource.namespaced:
                for obj in self._store.list(resource, namespace):
                    self._store.remove(resource, obj)


def _without_finalizers(metadata: JsonObject) -> JsonObject:
    return {key: value for key, value in metadata.items() if key != "finalizers"}


def _list(found: Any) -> list[Any]:
    if not isinstance(found or [], list):
        raise _misread()
    return found or []


def _misread() -> Refused:
    return bad_request("json: cannot unmarshal into DeleteOptions")


def _check_preconditions(resource: Resource, current: JsonObject, wanted: Any) -> None:
    if not isinstance(wanted, dict):
        raise _misread()
    metadata = current["metadata"]
    for field, name, guess in (
        ("uid", "UID", "deleted and then recreated"),
        ("resourceVersion", "ResourceVersion", "modified"),
    ):
        asked, found = wanted.get(field), metadata[field]
        if asked and asked != found:
            why = f"the {name} in the precondition ({asked}) does not match the {name} in record ({found})."
            raise conflict_of_kind(resource, metadata["name"], f"{why} The object might have been {guess}")
