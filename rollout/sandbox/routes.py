"""VirtualServices -> an Envoy RouteConfiguration, with the meaning istiod gives them.

Belongs here: pure functions about requests; each rule names its place in istio's pilot/pkg/networking/core/route.
Does not belong here: destinations (`clusters.py`), how Envoy gets to know (`envoy.py`). Translated are matches,
weights, timeouts, retries, rewrites, header edits, redirects and direct responses; `untranslated` names the rest.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Final

from rollout.sandbox.clusters import (
    Config,
    JsonObject,
    cluster_name,
    fqdn,
    in_order,
    service_host,
    service_ports,
)

ROUTE_CONFIGURATION: Final = "http.80"
SEQUENCE_HEADER: Final = "x-sandbox-seq"
"""With an exact split, a request's number in this header takes the place of Envoy's random number."""

_LISTENER_PORT: Final = 80
_MESH: Final = "mesh"
_KNOWN_HTTP: Final = frozenset(
    {"name", "match", "route", "timeout", "retries", "rewrite", "headers", "redirect", "directResponse"}
)
# pilot/pkg/networking/core/route/retry/retry.go, defaultRetryPolicy
_RETRY_ON: Final = "connect-failure,refused-stream,unavailable,cancelled"
_RETRIES: Final = 2


def route_configuration(config: Config, *, exact_split: bool = False) -> JsonObject:
    """What Envoy shall do with every request: a virtual host per VirtualService, and per Service without one.

    A request for any other host gets 404 NR.

    Args:
        config: the objects.
        exact_split: split by `SEQUENCE_HEADER` where a request has it, not by chance.
    """
    hosts, taken = [], set[str]()
    for name, domains, routes in _virtual_hosts(config, exact_split=exact_split):
        free = [domain for domain in domains if domain not in taken]
        taken.update(free)
        if free:
            hosts.append({"name": name, "domains": free, "routes": routes})
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": ROUTE_CONFIGURATION,
        # As istiod: a cluster that does not exist is a 503 for those it hits, no reason to refuse the rest.
        "validate_clusters": False,
        "virtual_hosts": hosts,
    }


def untranslated(virtual_service: JsonObject) -> list[str]:
    """Fields of a VirtualService that mean something to Istio and nothing to us, as paths."""
    spec = virtual_service.get("spec") or {}
    found = [f"spec.{name}" for name in ("tcp", "tls") if spec.get(name)]
    for index, http in enumerate(spec.get("http") or ()):
        found += [f"spec.http[{index}].{name}" for name in http if name not in _KNOWN_HTTP]
    return found


def _virtual_hosts(config: Config, *, exact_split: bool) -> Iterator[tuple[str, list[str], list[JsonObject]]]:
    ports = {service_host(service): service_ports(service) for service in config.services}
    for virtual_service in in_order(config.virtual_services):
        spec, namespace = virtual_service.get("spec") or {}, virtual_service["metadata"].get("namespace", "")
        gateways = spec.get("gateways") or [_MESH]
        if not spec.get("http"):
            continue
        translation = _Translation(config, ports, namespace, gateways, exact_split=exact_split)
        routes = list(translation.routes(spec["http"]))
        # Every route is for another client: then there is no route at all (BuildHTTPRoutesForVirtualService).
        if not routes:
            continue
        for host in spec.get("hosts") or ():
            full = fqdn(host, namespace)
            yield full, _domains(full, ports.get(full, ()), config.source_namespace), routes
    for host, numbers in ports.items():
        if numbers:
            action = {"cluster": cluster_name(numbers[0], "", host), **_timing({})}
            yield host, _domains(host, numbers, config.source_namespace), [_route({"prefix": "/"}, action)]


def _domains(host: str, ports: tuple[int, ...], source_namespace: str) -> list[str]:
    """All names a client in `source_namespace` may call a host by (httproute.go, generateVirtualHostDomains)."""
    names = [host]
    service, _, rest = host.partition(".")
    namespace, _, suffix = rest.partition(".")
    if suffix == "svc.cluster.local":
        names += [f"{service}.{namespace}.svc", f"{service}.{namespace}"]
        names += [service] if namespace == source_namespace else []
    return names + [f"{name}:{port}" for name in names for port in ports]


def _route(match: JsonObject, action: JsonObject, name: str = "") -> JsonObject:
    return {"match": match, "route": action, **({"name": name} if name else {})}


class _Translation:
    """The http routes of one VirtualService, for our one client."""

    def __init__(
        self,
        config: Config,
        ports: Mapping[str, tuple[int, ...]],
        namespace: str,
        gateways: list[str],
        *,
        exact_split: bool,
    ) -> None:
        self._config = config
        self._ports = ports
        self._namespace = namespace
        self._gateways = gateways
        self._exact_split = exact_split

    def routes(self, http: list[JsonObject]) -> Iterator[JsonObject]:
        """In order; nothing after a route that takes everything."""
        for rule in http:
            if not rule.get("match"):
                if _MESH in self._gateways:
                    yield self._translated(rule, {"prefix": "/"}, rule.get("name", ""))
                    return
                continue
            for match in rule["match"]:
                if self._is_for_us(match):
                    translated = _match(match)
                    name = ".".join(part for part in (rule.get("name"), match.get("name")) if part)
                    yield self._translated(rule, translated, name)
                    if translated == {"prefix": "/"}:
                        return

    def _is_for_us(self, match: JsonObject) -> bool:
        """route.go, sourceMatchHTTP: gateways of the match replace those of the VirtualService."""
        config = self._config
        return (
            _MESH in (match.get("gateways") or self._gateways)
            and match.get("port", _LISTENER_PORT) == _LISTENER_PORT
            and (match.get("sourceLabels") or {}).items() <= config.source_labels.items()
            and match.get("sourceNamespace", config.source_namespace) == config.source_namespace
        )

    def _translated(self, rule: JsonObject, match: JsonObject, name: str) -> JsonObject:
        named = {"name": name} if name else {}
        if "redirect" in rule:
            return {"match": match, "redirect": _redirect(rule["redirect"]), **named}
        if "directResponse" in rule:
            return {"match": match, "direct_response": _direct_response(rule["directResponse"]), **named}
        destinations = rule.get("route") or []
        holders = [rule, *destinations] if len(destinations) == 1 else [rule]
        return _route(match, self._action(rule), name) | _header_edits(*holders)

    def _action(self, rule: JsonObject) -> JsonObject:
        """route.go, applyHTTPRouteDestination: one destination takes all; of several, weight 0 and no weight are out.

        With nothing left the list is empty, and Envoy refuses the whole update, as it would istiod's.
        """
        action = _timing(rule) | _rewrite(rule.get("rewrite") or {})
        destinations = rule.get("route") or []
        if len(destinations) == 1:
            return {"cluster": self._cluster(destinations[0]["destination"]), **action}
        weighted: JsonObject = {
            "clusters": [
                {"name": self._cluster(entry["destination"]), "weight": entry["weight"]} | _header_edits(entry)
                for entry in destinations
                if entry.get("weight")
            ]
        }
        if self._exact_split:
            weighted["header_name"] = SEQUENCE_HEADER
        return {"weighted_clusters": weighted, **action}

    def _cluster(self, destination: JsonObject) -> str:
        """Named as in route.go, GetDestinationCluster."""
        host = fqdn(destination["host"], self._namespace)
        ports = self._ports.get(host, ())
        port = (destination.get("port") or {}).get("number")
        if port is None:
            port = ports[0] if len(ports) == 1 else _LISTENER_PORT
        return cluster_name(port, destination.get("subset", ""), host)


def _match(match: JsonObject) -> JsonObject:
    """route.go, TranslateRouteMatch."""
    translated = _path(match.get("uri") or {}, ignore_case=match.get("ignoreUriCase", False))
    headers = [_header(name, value) for name, value in (match.get("headers") or {}).items()]
    headers += [
        _header(name, value) | {"invert_match": True} for name, value in (match.get("withoutHeaders") or {}).items()
    ]
    headers += [_header(f":{name}", match[name]) for name in ("method", "authority", "scheme") if match.get(name)]
    parameters = [
        {"name": name, "string_match": _string(value)} if value else {"name": name, "present_match": True}
        for name, value in (match.get("queryParams") or {}).items()
    ]
    if headers:
        translated["headers"] = headers
    if parameters:
        translated["query_parameters"] = parameters
    return translated


def _path(uri: JsonObject, *, ignore_case: bool) -> JsonObject:
    translated: JsonObject
    if "exact" in uri:
        translated = {"path": uri["exact"]}
    elif "regex" in uri:
        translated = {"safe_regex": {"regex": uri["regex"]}}
        if uri["regex"] == ".*":
            translated = {"prefix": "/"}
    else:
        translated = {"prefix": uri.get("prefix", "/")}
    return translated | ({"case_sensitive": False} if ignore_case else {})


def _header(name: str, value: JsonObject) -> JsonObject:
    if not value:
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": _string(value)}


def _string(value: JsonObject) -> JsonObject:
    if "regex" in value:
        return {"safe_regex": {"regex": value["regex"]}}
    return {"prefix": value["prefix"]} if "prefix" in value else {"exact": value.get("exact", "")}


def _timing(rule: JsonObject) -> JsonObject:
    """No timeout unless one is given; two retries of what surely never reached the service, unless told otherwise."""
    retries = rule.get("retries") or {"attempts": _RETRIES}
    action: JsonObject = {"timeout": _duration(rule.get("timeout", "0s"))}
    if retries.get("attempts", 0):
        policy: JsonObject = {
            "num_retries": retries["attempts"],
            "retry_on": retries.get("retryOn") or _RETRY_ON,
            "host_selection_retry_max_attempts": "5",
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {
                        "@type": "type.googleapis.com/"
                        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                    },
                }
            ],
        }
        if "perTryTimeout" in retries:
            policy["per_try_timeout"] = _duration(retries["perTryTimeout"])
        action["retry_policy"] = policy
    return action


_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def _duration(text: str) -> str:
    """A Go duration (`1m30s`, `500ms`) as protobuf's JSON wants it: seconds."""
    seconds, number, rest = 0.0, "", text
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        unit = "ms" if rest.startswith("ms") else rest[:1]
        if not number or unit not in _UNITS:
            raise ValueError(f"{text!r} is no duration")
        seconds, rest = seconds + float(number) * _UNITS[unit], rest[len(unit) :]
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def _rewrite(rewrite: JsonObject) -> JsonObject:
    renamed = {"uri": "prefix_rewrite", "authority": "host_rewrite_literal"}
    return {new: rewrite[old] for old, new in renamed.items() if old in rewrite}


def _redirect(redirect: JsonObject) -> JsonObject:
    codes = {301: "MOVED_PERMANENTLY", 302: "FOUND", 303: "SEE_OTHER", 307: "TEMPORARY_REDIRECT"}
    codes[308] = "PERMANENT_REDIRECT"
    renamed = {"uri": "path_redirect", "authority": "host_redirect", "scheme": "scheme_redirect"}
    renamed["port"] = "port_redirect"
    action: JsonObject = {new: redirect[old] for old, new in renamed.items() if old in redirect}
    return action | {"response_code": codes[redirect.get("redirectCode", 301)]}


def _direct_response(response: JsonObject) -> JsonObject:
    body = response.get("body") or {}
    return {"status": response["status"], **({"body": {"inline_string": body["string"]}} if "string" in body else {})}


def _header_edits(*holders: JsonObject) -> JsonObject:
    """`headers` of a route, of a weighted destination, or of a route and its only destination together."""
    edits: JsonObject = {}
    for side, holder in product(("request", "response"), holders):
        wanted: dict[str, Any] = (holder.get("headers") or {}).get(side) or {}
        adds = [_header_option(item, "APPEND_IF_EXISTS_OR_ADD") for item in (wanted.get("add") or {}).items()]
        adds += [_header_option(item, "OVERWRITE_IF_EXISTS_OR_ADD") for item in (wanted.get("set") or {}).items()]
        for name, found in (("add", adds), ("remove", wanted.get("remove") or [])):
            if found:
                edits.setdefault(f"{side}_headers_to_{name}", []).extend(found)
    return edits


def _header_option(item: tuple[str, str], action: str) -> JsonObject:
    return {"header": {"key": item[0], "value": item[1]}, "append_action": action}
