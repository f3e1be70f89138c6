"""Does an object have the form of its kind: unknown fields, types of fields, values, rules.

Belongs here: which schema counts for which write, and what an answer says about it. Does not belong here: the
schemas (`definitions.py`, `builtin.py`), checking against one (`schemas.py`, `rules.py`), metadata (`naming.py`).
"""

from typing import Final

from rollout.sandbox.kubernetes.builtin import SCHEMAS, causes_in
from rollout.sandbox.kubernetes.definitions import schema_of
from rollout.sandbox.kubernetes.naming import warnings_about
from rollout.sandbox.kubernetes.refusals import Cause, Refused, Undecodable, bad_request, unreadable_patch
from rollout.sandbox.kubernetes.resources import JsonObject, Resource
from rollout.sandbox.kubernetes.rules import broken
from rollout.sandbox.kubernetes.schemas import check, pruned
from rollout.sandbox.kubernetes.targets import Target, WriteOptions

# apiextensions pkg/registry/customresource/strategy.go, hasBlockingErr: with these, no rule in CEL is tried.
_BLOCKING: Final = frozenset({
    "FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid",
})  # fmt: skip
_UNCHECKED: Final = (
    "some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation"
)


class Forms:
    """Checks objects against what their kinds look like.

    Args:
        definitions: whether our kinds have the schemas of our definitions. Without, they take any fields, as in a
            cluster whose definitions are from another time.
    """

    def __init__(self, *, definitions: bool = True) -> None:
        self._definitions = definitions

    def _schema(self, resource: Resource) -> JsonObject | None:
        if resource.custom:
            return schema_of(resource) if self._definitions else None
        return SCHEMAS.get(resource.key)

    def conformed(self, target: Target, obj: JsonObject, options: WriteOptions, *, patched: bool = False) -> JsonObject:
        """An object without the fields its kind does not have; the writer hears of them.

        Args:
            target: where it is written to.
            obj: in the stored version.
            options: of the write.
            patched: it is what a patch made.

        Raises:
            Undecodable: a field of a built-in kind has the wrong type.
            Refused: 400, or 422 of a patch: there are unknown fields, and the writer wants that to be an error.
        """
        resource = target.resource
        schema = self._schema(resource)
        if schema is None and not resource.custom:
            options.warnings.extend(warnings_about(obj["metadata"]))
            return obj
        kept, unknown = pruned(schema, obj)
        if not resource.custom and schema is not None:
            for cause in check(schema, kept, ""):
                raise Undecodable(f"{_unhandled(target)}: json: cannot unmarshal {cause.field}: {cause.message}")
        said = [f'unknown field "{path}"' for path in unknown]
        if said and options.validation == "Strict":
            why = f"strict decoding error: {', '.join(said)}"
            raise unreadable_patch(why) if patched else bad_request(f"{_unhandled(target)}: {why}")
        if options.validation == "Warn":
            options.warnings.extend(said)
        options.warnings.extend(warnings_about(obj["metadata"]))
        return kept

    def check_applied(self, target: Target, wanted: JsonObject) -> None:
        """An applied configuration may not have fields that its kind does not have.

        Raises:
            Refused: 500, it has: structured-merge-diff's error has no code of its own.
        """
        resource = target.resource
        schema = self._schema(resource)
        if schema is None:
            return
        _, unknown = pruned(schema, wanted)
        if unknown:
            what = f"/{target.name}; {target.group_version.text}, Kind={resource.kind}"
            why = f"failed to create typed patch object ({what}): .{unknown[0]}: field not declared in schema"
            raise Refused(500, "", why)

    def causes_of(self, target: Target, new: JsonObject, current: JsonObject | None, found: list[Cause]) -> list[Cause]:
        """What is wrong with an object about to be stored, its metadata aside.

        Args:
            target: where it is written to; of `/status`, the status is looked at alone (apiextensions
                status_strategy.go).
            new: the object; it is `conformed`.
            current: the object before, or None if there is none.
            found: what is wrong with its metadata.
        """
        resource = target.resource
        if not resource.custom:
            return causes_in(resource, new, current, target.group_version)
        schema, causes = self._schema(resource), list[Cause]()
        shown = {key: value for key, value in new.items() if current is not None or key != "status"}
        if schema is not None and target.subresource == "status":
            if "status" in new:
                causes = list(check(schema["properties"]["status"], new["status"], "status"))
        elif schema is not None:
            causes = list(check(schema, shown, ""))
        if any(cause.reason in _BLOCKING for cause in (*found, *causes)):
            return [*causes, Cause("<nil>", f"Invalid value: null: {_UNCHECKED}")]
        return [*causes, *(broken(schema, shown, current, "") if schema is not None else ())]


def _unhandled(target: Target) -> str:
    kind = target.resource.kind
    return f'{kind} in version "{target.group_version.version}" cannot be handled as a {kind}'
