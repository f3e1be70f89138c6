"""HTTP: from a request to the registry and back.

Belongs here: which handler answers what, and in which form. Does not belong here: rules about objects
(`registry.py`), the life of the server (`server.py`).
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from rollout.sandbox.kubernetes import discovery, openapi
from rollout.sandbox.kubernetes.bodies import without_a_past
from rollout.sandbox.kubernetes.conversion import to_served
from rollout.sandbox.kubernetes.faults import FaultRule, Faults
from rollout.sandbox.kubernetes.listing import Listing, exact_revision
from rollout.sandbox.kubernetes.negotiation import (
    JSON,
    Wanted,
    body_of,
    media_type,
    parse_apply,
    parse_json,
    parse_object,
    to_json,
    wanted,
)
from rollout.sandbox.kubernetes.patches import json_patched, merge_patched
from rollout.sandbox.kubernetes.refusals import (
    Cause,
    Refused,
    bad_request,
    invalid_options,
    unsupported_media_type,
    unsupported_patch_type,
)
from rollout.sandbox.kubernetes.registry import Registry
from rollout.sandbox.kubernetes.resources import GroupVersion, JsonObject
from rollout.sandbox.kubernetes.scale import to_scale, with_scale
from rollout.sandbox.kubernetes.selectors import Selector, parse_selector
from rollout.sandbox.kubernetes.store import Store
from rollout.sandbox.kubernetes.strategic import strategic_patched
from rollout.sandbox.kubernetes.tables import metadata_only, table
from rollout.sandbox.kubernetes.targets import Target, flag, target_of, write_options
from rollout.sandbox.kubernetes.watching import WatchOrder, WatchResponse

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"

_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


def _answer(body: JsonObject, code: int = 200, warnings: Iterable[str] = ()) -> Response:
    response = Response(to_json(body), code, media_type=JSON)
    for text in warnings:
        # RFC 7234, 5.5: code 299, no agent.
        response.headers.append("warning", f"299 - {json.dumps(text)}")
    return response


class Api:
    """Answers everything below `/api` and `/apis`.

    Args:
        store: what is remembered.
        registry: the rules of writing to it.
        faults: asked before every request.
        hang_up: aborts the connection a request came on.
    """

    def __init__(self, store: Store, registry: Registry, faults: Faults, hang_up: Callable[[Request], None]) -> None:
        self._store = store
        self._registry = registry
        self._faults = faults
        self._hang_up = hang_up
        self._listing = Listing(store)
        self._handlers: dict[str, Callable[[Target, Request], Awaitable[Response]]] = {
            "get": self._get,
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_collection,
        }

    async def answer(self, request: Request) -> Response:
        """The endpoint."""
        target = target_of(request)
        rule = self._faults.strike(target)
        if rule is None:
            return await self._handlers[target.verb](target, request)
        await asyncio.sleep(rule.delay_ms / 1000)
        if rule.when == "before":
            await self._suffer(rule, request)
        response = await self._handlers[target.verb](target, request)
        if rule.when == "after":
            await self._suffer(rule, request)
        return response

    async def _suffer(self, rule: FaultRule, request: Request) -> None:
        if rule.drop:
            self._hang_up(request)
            # One turn of the loop, so that uvicorn has noticed before anyone tries to answer.
            await asyncio.sleep(0)
            raise Refused(503, "ServiceUnavailable", "the connection is gone")
        if rule.status is not None:
            raise rule.refusal()

    def _shown(
        self,
        target: Target,
        obj: JsonObject,
        code: int = 200,
        *,
        form: Wanted | None = None,
        warnings: Iterable[str] = (),
    ) -> Response:
        if target.subresource == "scale":
            return _answer(to_scale(obj), code)
        if form is not None and form.table:
            metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            return _answer(table(target.resource, [obj], metadata, self._registry.now()), code)
        if form is not None and form.metadata:
            return _answer(metadata_only(obj), code)
        return _answer(to_served(target.resource, obj, target.group_version), code, warnings)

    async def _get(self, target: Target, request: Request) -> Response:
        form = wanted(request.headers.get("accept", ""))
        exact_revision(request.query_params.get("resourceVersion", ""))
        return self._shown(target, self._registry.get(target), form=form)

    def _selector(self, target: Target, request: Request) -> Selector:
        query = request.query_params
        return parse_selector(target.resource, query.get("labelSelector", ""), query.get("fieldSelector", ""))

    async def _list(self, target: Target, request: Request) -> Response:
        form, query, resource = wanted(request.headers.get("accept", "")), request.query_params, target.resource
        _whole_number(query.get("timeoutSeconds", ""))
        if query.get("continue") and query.get("resourceVersion", "0") != "0":
            raise bad_request("specifying resource version is not allowed when using continue")
        page = self._listing.page(
            resource,
            target.namespace,
            self._selector(target, request),
            _whole_number(query.get("limit", "")) or 0,  # below 0 is as good as none
            query.get("continue", ""),
            query.get("resourceVersion", ""),
            query.get("resourceVersionMatch", ""),
        )
        if form.table:
            return _answer(table(resource, page.objects, page.metadata, self._registry.now()))
        if form.metadata:
            said = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
            return _answer({**said, "metadata": page.metadata, "items": [metadata_only(obj) for obj in page.objects]})
        items = [to_served(resource, obj, target.group_version) for obj in page.objects]
        if not resource.custom:
            items = [{k: v for k, v in item.items() if k not in {"kind", "apiVersion"}} for item in items]
        return self._list_of(target, page.metadata, items)

    def _list_of(self, target: Target, metadata: JsonObject, items: list[JsonObject]) -> Response:
        resource = target.resource
        if resource.custom:
            # unstructured.UnstructuredList says `continue` even where it is empty.
            metadata = {"continue": "", **metadata}
        said = {"kind": f"{resource.kind}List", "apiVersion": target.group_version.text}
        return _answer({**said, "metadata": metadata, "items": items})

    async def _watch(self, target: Target, request: Request) -> Response:
        form, query, resource = wanted(request.headers.get("accept", "")), request.query_params, target.resource
        whole_first = flag(request, "sendInitialEvents")
        if whole_first and query.get("resourceVersionMatch") != "NotOlderThan":
            why = 'Forbidden: sendInitialEvents requires setting resourceVersionMatch to "NotOlderThan"'
            raise invalid_options("ListOptions", Cause("resourceVersionMatch", why, "FieldValueForbidden"))
        since = 0 if whole_first else exact_revision(query.get("resourceVersion", ""))
        order = WatchOrder(
            resource=resource,
            shown_as=target.group_version,
            namespace=target.namespace,
            selector=self._selector(target, request),
            since=since or None,
            bookmarks=flag(request, "allowWatchBookmarks"),
            marks_the_present=whole_first,
            seconds=_whole_number(query.get("timeoutSeconds", "")),
        )

        def shape(obj: JsonObject, first: bool) -> JsonObject:
            if form.table:
                metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
                return table(resource, [obj], metadata, self._registry.now(), headers=first)
            return metadata_only(obj) if form.metadata else to_served(resource, obj, target.group_version)

        return WatchResponse(self._store, order, shape)

    async def _create(self, target: Target, request: Request) -> Response:
        body = parse_object(await body_of(request), media_type(request))
        options = write_options(request)
        return self._shown(target, self._registry.create(target, body, options), 201, warnings=options.warnings)

    async def _update(self, target: Target, request: Request) -> Response:
        body = parse_object(await body_of(request), media_type(request))
        options, resource = write_options(request), target.resource
        exists = self._store.get(resource, target.namespace, target.name) is not None
        if not exists and resource.put_creates and not target.subresource:
            created = self._registry.create(target, without_a_past(target, body), options)
            return self._shown(target, created, 201, warnings=options.warnings)

        def change(shown: JsonObject) -> JsonObject:
            return with_scale(shown, body) if target.subresource == "scale" else body

        updated = self._registry.update(target, change, options, replaces=True)
        return self._shown(target, updated, warnings=options.warnings)

    async def _patch(self, target: Target, request: Request) -> Response:
        media, raw, options = media_type(request), await body_of(request), write_options(request)
        if media == APPLY_PATCH:
            if not request.query_params.get("fieldManager"):
                cause = Cause("fieldManager", "Required value: is required for apply patch", "FieldValueRequired")
                raise invalid_options("PatchOptions", cause)
            applied, created = self._registry.apply(target, parse_apply(raw), options)
            return self._shown(target, applied, 201 if created else 200, warnings=options.warnings)
        patched = self._patcher(target, media, raw)

        def change(shown: JsonObject) -> JsonObject:
            if target.subresource == "scale":
                return with_scale(shown, patched(to_scale(shown)))
            return patched(shown)

        updated = self._registry.update(target, change, options, replaces=False)
        return self._shown(target, updated, warnings=options.warnings)

    def _patcher(self, target: Target, media: str, raw: bytes) -> Callable[[JsonObject], JsonObject]:
        kind, custom = target.resource.kind, target.resource.custom
        if media == JSON_PATCH:
            operations = parse_json(raw)
            return lambda shown: json_patched(shown, operations)
        if media == MERGE_PATCH:
            patch = parse_json(raw)
            return lambda shown: merge_patched(shown, patch)
        if media == STRATEGIC_MERGE_PATCH and not custom:
            patch = parse_json(raw)
            return lambda shown: strategic_patched(kind, shown, patch)
        if custom:
            raise unsupported_media_type((JSON_PATCH, MERGE_PATCH, APPLY_PATCH))
        raise unsupported_patch_type()

    async def _delete_options(self, request: Request) -> JsonObject:
        raw, policy = await body_of(request), request.query_params.get("propagationPolicy")
        try:
            body = parse_object(raw, media_type(request)) if raw.strip() else {}
        except Refused as refused:
            # delete.go hands the decoder's error on as it is, without a code.
            raise Refused(500, "", refused.message) from refused
        return {"propagationPolicy": policy, **body} if policy else body

    async def _delete(self, target: Target, request: Request) -> Response:
        body = await self._delete_options(request)
        obj, gone = self._registry.delete(target, body, write_options(request))
        if not gone:
            return self._shown(target, obj)
        group = target.group_version.group
        details = {
            "name": target.name,
            **({"group": group} if group else {}),
            "kind": target.resource.plural,
            "uid": obj["metadata"]["uid"],
        }
        return _answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})

    async def _delete_collection(self, target: Target, request: Request) -> Response:
        body, options, resource = await self._delete_options(request), write_options(request), target.resource
        selector = self._selector(target, request)
        doomed = [obj for obj in self._store.list(resource, target.namespace) if selector.matches(obj)]
        for obj in doomed:
            name = obj["metadata"]["name"]
            one = Target("delete", resource, target.group_version, target.namespace, name)
            self._registry.delete(one, body, options)
        items = [to_served(resource, obj, target.group_version) for obj in doomed]
        return self._list_of(target, {"resourceVersion": str(self._store.revision)}, items)


def _whole_number(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.removeprefix("-").isdigit():
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _guarded(handler: Handler) -> Handler:
    """Refusals as `Status`; anything unexpected as a 500 `Status`, logged."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except Refused as refused:
            if refused.code == 404 and not refused.reason:
                return PlainTextResponse(refused.message, 404)
            return _answer(refused.as_status(), refused.code)
        except Exception as error:  # noqa: BLE001 - a bug here is an answer too, as in the real server
            _log.exception("%s %s failed", request.method, request.scope["path"])
            return _answer(Refused(500, "InternalError", f"Internal error: {error!r}").as_status(), 500)

    return endpoint


def application(store: Store, registry: Registry, faults: Faults, hang_up: Callable[[Request], None]) -> Starlette:
    """Everything the server answers."""
    api = Api(store, registry, faults, hang_up)

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def version(_: Request) -> Response:
        return _answer(discovery.VERSION)

    async def core(request: Request) -> Response:
        return _answer(discovery.core_versions(request.headers.get("host", "")))

    async def groups(_: Request) -> Response:
        return _answer(discovery.groups())

    async def group(request: Request) -> Response:
        return _answer(discovery.group(request.path_params["group"]))

    async def resources(request: Request) -> Response:
        parameters = request.path_params
        return _answer(discovery.resource_list(GroupVersion(parameters.get("group", ""), parameters["version"])))

    async def openapi_v2(_: Request) -> Response:
        return _answer(openapi.V2)

    async def openapi_index(_: Request) -> Response:
        return _answer(openapi.index())

    async def openapi_document(request: Request) -> Response:
        return _answer(openapi.document(request.path_params["path"]))

    async def fault_switch(request: Request) -> Response:
        if request.method == "PUT":
            faults.obey(parse_object(await body_of(request), media_type(request)))
        elif request.method == "DELETE":
            faults.clear()
        return _answer(faults.as_json())

    get: list[tuple[str, Handler]] = [
        *((path, healthy) for path in ("/livez", "/readyz", "/healthz")),
        ("/version", version),
        ("/openapi/v2", openapi_v2),
        ("/openapi/v3", openapi_index),
        ("/openapi/v3/{path:path}", openapi_document),
        ("/api", core),
        ("/apis", groups),
        ("/api/{version}", resources),
        ("/apis/{group}", group),
        ("/apis/{group}/{version}", resources),
    ]
    return Starlette(
        routes=[
            *(Route(path, _guarded(handler), methods=["GET"]) for path, handler in get),
            Route("/sandbox/faults", _guarded(fault_switch), methods=["GET", "PUT", "DELETE"]),
            Route("/{path:path}", _guarded(api.answer), methods=_METHODS),
        ]
    )
