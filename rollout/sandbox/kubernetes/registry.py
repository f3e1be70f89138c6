"""The rules of writing: what the server does to an object between a request and the store.

Belongs here: what k8s.io/apiserver pkg/registry/rest and the apiextensions strategies do (BeforeCreate,
BeforeUpdate, BeforeDelete), as far as a client can see it. Does not belong here: patch formats, HTTP, storage.
"""

import copy
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from rollout.sandbox.kubernetes.bodies import read_body
from rollout.sandbox.kubernetes.builtin import written_out
from rollout.sandbox.kubernetes.conforming import Forms
from rollout.sandbox.kubernetes.conversion import to_served
from rollout.sandbox.kubernetes.deleting import Deletions
from rollout.sandbox.kubernetes.naming import made_up_name, metadata_causes
from rollout.sandbox.kubernetes.ownership import Writer, after_update, applied
from rollout.sandbox.kubernetes.refusals import (
    Cause,
    Refused,
    Undecodable,
    already_exists,
    conflict,
    invalid,
    invalid_version,
    not_found,
    unreadable_patch,
)
from rollout.sandbox.kubernetes.resources import (
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    SECRETS,
    JsonObject,
    Resource,
)
from rollout.sandbox.kubernetes.store import Store
from rollout.sandbox.kubernetes.targets import Target, WriteOptions

_SERVER_OWNED: Final = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_PRESENT_FROM_THE_START: Final = ("default", "kube-node-lease", "kube-public", "kube-system")
_NAME_ATTEMPTS: Final = 8


class Registry:
    """Creates, changes and deletes objects in a store, one atomic call each."""

    def __init__(self, store: Store, clock: Callable[[], datetime], forms: Forms) -> None:
        self._store = store
        self._forms = forms
        self._clock = clock
        self._deletions = Deletions(store, self._stamp)
        for name in _PRESENT_FROM_THE_START:
            obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            writer = Writer("kube-apiserver", NAMESPACES.stored.text, "", self._stamp())
            store.put(NAMESPACES, self._born(NAMESPACES, obj, writer))

    def now(self) -> datetime:
        """The server's time."""
        return self._clock()

    def get(self, target: Target) -> JsonObject:
        """The stored object.

        Raises:
            Refused: 404.
        """
        found = self._store.get(target.resource, target.namespace, target.name)
        if found is None:
            raise not_found(target.resource, target.name, target.group_version.group)
        return found

    def create(self, target: Target, body: JsonObject, options: WriteOptions, *, applies: bool = False) -> JsonObject:
        """POST, or PUT and apply of something new.

        Args:
            target: collection, or the object to be.
            body: as the client sent it, in the target's group version.
            options: of the write.
            applies: who owns what is settled in `body` already.

        Returns:
            The stored object.

        Raises:
            Refused: 400, body and URL disagree; 404, no such namespace; 409, exists; 422, invalid.
        """
        resource, store = target.resource, self._store
        obj = self._forms.conformed(target, read_body(target, body), options)
        metadata = obj["metadata"]
        if target.namespace and store.get(NAMESPACES, "", target.namespace) is None:
            raise not_found(NAMESPACES, target.namespace)
        if metadata.get("resourceVersion"):
            # etcd3 storage.ErrResourceVersionSetOnCreate has no code of its own, so it surfaces as a bare 500.
            raise Refused(500, "", "resourceVersion should not be set on objects to be created")
        for _ in range(_NAME_ATTEMPTS):
            if prefix := not metadata.get("name") and metadata.get("generateName"):
                obj = {**obj, "metadata": {**metadata, "name": made_up_name(prefix)}}
            causes = metadata_causes(resource, obj["metadata"])
            if causes := [*causes, *self._forms.causes_of(target, obj, None, causes)]:
                raise invalid(resource, str(obj["metadata"].get("name", "")), *causes)
            name = obj["metadata"]["name"]
            if store.get(resource, target.namespace, name) is None:
                break
            if not prefix:
                raise already_exists(resource, name)
        else:
            raise already_exists(resource, obj["metadata"]["name"])
        born = self._born(resource, obj, None if applies else self._writer(target, options))
        return born if options.dry_run else store.put(resource, born)

    def update(
        self,
        target: Target,
        change: Callable[[JsonObject], JsonObject],
        options: WriteOptions,
        *,
        replaces: bool,
        applies: bool = False,
    ) -> JsonObject:
        """PUT, PATCH and apply of something that exists.

        Args:
            target: the object, or its status.
            change: from the present object to the wanted one, both in the target's group version.
            options: of the write.
            replaces: it is a PUT: `metadata.uid` in it is a precondition, and its resourceVersion is asked for.
            applies: `change` has settled who owns what.

        Returns:
            The stored object (the last state of it, if this removed the last finalizer of a deleted one).

        Raises:
            Refused: 400, 404, 409 or 422.
        """
        resource, current = target.resource, self.get(target)
        shown = to_served(resource, current, target.group_version)
        new = self._read(target, change, shown, options, patched=not (replaces or applies))
        self._check_preconditions(target, current, new, replaces=replaces)
        new = self._only_what_may_change(target, current, new)
        causes = self._update_causes(resource, current, new)
        if causes := [*causes, *self._forms.causes_of(target, new, current, causes)]:
            raise invalid(resource, target.name, *causes)
        if not applies and "managedFields" in new["metadata"]:
            # Nobody begins to own fields of what nobody has owned a field of (managedfields/internal/fieldmanager.go).
            new = after_update(resource, current, new, self._writer(target, options))
        if new == current:
            return current
        self._count_generation(resource, current, new)
        if options.dry_run:
            return new
        if new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers"):
            # Only watches learn of the revision of its end.
            self._store.remove(resource, new)
            return new
        return self._store.put(resource, new)

    def apply(self, target: Target, body: JsonObject, options: WriteOptions) -> tuple[JsonObject, bool]:
        """Server-side apply.

        Returns:
            The stored object, and whether this created it.

        Raises:
            Refused: 400; 404, no such namespace; 409, fields belong to others; 422.
        """
        resource, wanted = target.resource, read_body(target, body, applies=True)
        self._forms.check_applied(target, wanted)
        current = self._store.get(resource, target.namespace, target.name)
        writer = self._writer(target, options)
        result = to_served(
            resource, applied(resource, current, wanted, writer, force=options.force), target.group_version
        )
        if current is None:
            if target.subresource:
                raise not_found(resource, target.name)
            metadata = {key: value for key, value in result["metadata"].items() if key != "resourceVersion"}
            return self.create(target, {**result, "metadata": metadata}, options, applies=True), True
        return self.update(target, lambda _: result, options, replaces=False, applies=True), False

    def delete(self, target: Target, body: JsonObject, options: WriteOptions) -> tuple[JsonObject, bool]:
        """DELETE of one object; `body` is a DeleteOptions.

        Returns:
            The object and whether it is gone; it stays while it has finalizers.

        Raises:
            Refused: 400 or 422; 404; 409, a precondition does not hold.
        """
        return self._deletions.delete(target.resource, self.get(target), body, dry_run=options.dry_run)

    def _read(
        self,
        target: Target,
        change: Callable[[JsonObject], JsonObject],
        shown: JsonObject,
        options: WriteOptions,
        *,
        patched: bool,
    ) -> JsonObject:
        try:
            return self._forms.conformed(target, read_body(target, change(shown)), options, patched=patched)
        except Undecodable as error:
            if patched:
                raise unreadable_patch(error.message) from error
            raise

    def _stamp(self) -> str:
        return rfc3339(self._clock())

    def _born(self, resource: Resource, obj: JsonObject, writer: Writer | None) -> JsonObject:
        """What a create stores; without a writer, who owns what is settled already."""
        born = copy.deepcopy(obj)
        metadata = born["metadata"]
        for owned in _SERVER_OWNED:
            metadata.pop(owned, None)
        metadata["uid"] = str(uuid.uuid4())
        metadata["creationTimestamp"] = self._stamp()
        if resource.generations:
            metadata["generation"] = 1
        if resource.status:
            born.pop("status", None)
        _set_defaults(resource, born)
        if writer:
            born = after_update(resource, {"metadata": {}}, born, writer)
        _set_server_fields(resource, born)
        return written_out(resource, born)

    def _writer(self, target: Target, options: WriteOptions) -> Writer:
        return Writer(options.manager, target.group_version.text, target.subresource, self._stamp())

    def _check_preconditions(self, target: Target, current: JsonObject, new: JsonObject, *, replaces: bool) -> None:
        resource, metadata = target.resource, new["metadata"]
        if metadata.get("uid", current["metadata"]["uid"]) != current["metadata"]["uid"]:
            wanted, present = metadata["uid"], current["metadata"]["uid"]
            if replaces:
                why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {present}"
                raise conflict(resource, target.name, why)
            cause = Cause("metadata.uid", f'Invalid value: "{wanted}": field is immutable')
            raise invalid(resource, target.name, cause)
        version = metadata.get("resourceVersion") or ""
        if not version and not resource.blind_put:
            raise invalid_version(resource, target.name)
        if version and not version.isdecimal():
            # storage.APIObjectVersioner's error has no code of its own.
            raise Refused(500, "", f'strconv.ParseUint: parsing "{version}": invalid syntax')
        if version and version != current["metadata"]["resourceVersion"]:
            raise conflict(resource, target.name)

    def _only_what_may_change(self, target: Target, current: JsonObject, new: JsonObject) -> JsonObject:
        if target.subresource == "status":
            kept = {key: value for key, value in current.items() if key != "status"}
            metadata = dict(current["metadata"])
            if "managedFields" in new["metadata"]:
                metadata["managedFields"] = new["metadata"]["managedFields"]
            status = new.get("status")
            return {**kept, "metadata": metadata, **({"status": status} if status is not None else {})}
        if target.resource.status:
            new = {key: value for key, value in new.items() if key != "status"}
            if "status" in current:
                new["status"] = current["status"]
        metadata = {key: value for key, value in new["metadata"].items() if key not in _SERVER_OWNED}
        for owned in (*_SERVER_OWNED, "resourceVersion"):
            if owned in current["metadata"]:
                metadata[owned] = current["metadata"][owned]
        if "managedFields" in current["metadata"]:
            metadata.setdefault("managedFields", current["metadata"]["managedFields"])
        return {**new, "metadata": metadata}

    def _update_causes(self, resource: Resource, current: JsonObject, new: JsonObject) -> list[Cause]:
        causes = metadata_causes(resource, new["metadata"])
        if current["metadata"].get("deletionTimestamp"):
            added = set(new["metadata"].get("finalizers") or []) - set(current["metadata"].get("finalizers") or [])
            if added:
                listed = ", ".join(f'"{name}"' for name in sorted(added))
                why = "Forbidden: no new finalizers can be added if the object is being deleted, "
                why += f"found new finalizers []string{{{listed}}}"
                causes.append(Cause("metadata.finalizers", why, "FieldValueForbidden"))
        return causes

    def _count_generation(self, resource: Resource, current: JsonObject, new: JsonObject) -> None:
        if not resource.generations:
            return
        ignored = {"metadata", "apiVersion", "kind"} | ({"status"} if resource.status else set())
        changed = _without(current, ignored) != _without(new, ignored)
        if resource.annotations_count:
            changed |= current["metadata"].get("annotations") != new["metadata"].get("annotations")
        if changed:
            new["metadata"]["generation"] = current["metadata"].get("generation", 0) + 1


def rfc3339(moment: datetime) -> str:
    """metav1.Time: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _without(obj: JsonObject, keys: set[str]) -> JsonObject:
    return {key: value for key, value in obj.items() if key not in keys}


def _set_defaults(resource: Resource, obj: JsonObject) -> None:
    """What a create owns without having said it."""
    if resource is NAMESPACES:
        labels: dict[str, Any] = obj["metadata"].setdefault("labels", {})
        labels["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
    elif resource is DEPLOYMENTS:
        obj.setdefault("spec", {}).setdefault("replicas", 1)
    elif resource is SECRETS:
        obj.setdefault("type", "Opaque")


def _set_server_fields(resource: Resource, obj: JsonObject) -> None:
    """What nobody owns."""
    if resource is NAMESPACES:
        obj |= {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    elif resource is DEPLOYMENTS:
        obj["status"] = {}
    elif resource is PODS:
        obj["status"] = {"phase": "Pending"}
