"""Lists: one consistent picture of a collection, whole or in pages.

Belongs here: resourceVersion, limit and continue of a list. Does not belong here: watches (`watching.py`).
"""

import base64
import binascii
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from rollout.sandbox.kubernetes.refusals import Cause, Refused, bad_request, expired, from_the_future, invalid_options
from rollout.sandbox.kubernetes.resources import JsonObject, Resource
from rollout.sandbox.kubernetes.selectors import Selector
from rollout.sandbox.kubernetes.store import Store

_PICTURES_KEPT: Final = 64


@dataclass(frozen=True, slots=True)
class Page:
    """Stored objects and the list's metadata."""

    objects: list[JsonObject]
    metadata: JsonObject


class Listing:
    """Answers lists; remembers the rest of unfinished ones so that all pages show one moment."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rest: OrderedDict[str, tuple[int, list[JsonObject]]] = OrderedDict()
        self._tokens = 0

    def page(
        self, resource: Resource, namespace: str, selector: Selector, limit: int, token: str, since: str, match: str
    ) -> Page:
        """One page, or all with `limit` 0.

        Args:
            resource: of the collection.
            namespace: or `""` for all.
            selector: of both kinds.
            limit: objects at most.
            token: `continue` of the page before.
            since: the `resourceVersion` parameter: "not older than"; we always answer with the newest.
            match: the `resourceVersionMatch` parameter.

        Raises:
            Refused: 400 or 422, bad parameters; 410, the token is too old, or exactly an old revision is asked for;
                504, a revision we have not reached.
        """
        if match and not since:
            why = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
            raise invalid_options("ListOptions", Cause("resourceVersionMatch", why, "FieldValueForbidden"))
        if token:
            revision, objects = self._continued(token)
        else:
            revision = self._store.revision
            if parse_revision(since) > revision:
                raise from_the_future(parse_revision(since), revision)
            if match == "Exact" and parse_revision(since) < revision:
                raise expired(f"The provided resource version is too old: {since}")
            objects = [obj for obj in self._store.list(resource, namespace) if selector.matches(obj)]
        metadata: JsonObject = {"resourceVersion": str(revision)}
        if 0 < limit < len(objects):
            metadata["continue"] = self._remember(revision, objects[limit:])
            if not selector:
                metadata["remainingItemCount"] = len(objects) - limit
            objects = objects[:limit]
        return Page(objects, metadata)

    def _remember(self, revision: int, rest: list[JsonObject]) -> str:
        self._tokens += 1
        token = {"v": "meta.k8s.io/v1", "rv": revision, "start": str(self._tokens)}
        text = base64.urlsafe_b64encode(json.dumps(token).encode()).decode().rstrip("=")
        self._rest[text] = (revision, rest)
        while len(self._rest) > _PICTURES_KEPT:
            self._rest.popitem(last=False)
        return text

    def _continued(self, token: str) -> tuple[int, list[JsonObject]]:
        if token in self._rest and self._rest[token][0] >= self._store.compacted:
            return self._rest[token]
        try:
            json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        except (binascii.Error, ValueError) as error:
            raise bad_request("continue key is not valid") from error
        raise expired("The provided continue parameter is too old to display a consistent list result.")


def exact_revision(text: str) -> int:
    """The `resourceVersion` of a watch or of one object, where it is read by the storage layer; empty is 0.

    Raises:
        Refused: 500, not a number: storage's error has no code of its own.
    """
    try:
        return parse_revision(text)
    except Refused as refused:
        raise Refused(500, "", refused.message) from refused


def parse_revision(text: str) -> int:
    """A `resourceVersion` parameter as a number; empty is 0.

    Raises:
        Refused: 400, not a number.
    """
    if not text:
        return 0
    if not text.isascii() or not text.isdigit():
        raise bad_request(f"invalid resource version {text!r}")
    return int(text)
