"""The Service itself: that it is there, selects the version's pods, and that Istio takes its ports for HTTP.

Belongs here: rules over a decoded Service. Does not belong here: routes, pods, reading.
"""

from collections.abc import Iterator, Mapping

from rollout.adapters.destination_rule import JsonObject, mapping, sequence
from rollout.adapters.preflight.catalogue import found
from rollout.adapters.preflight.scene import Scene, labelled, listed, spec_of
from rollout.core.preflight import Finding
from rollout.core.route import Target

# pkg/config/protocol/instance.go, Parse; appProtocol: pkg/config/kube/conversion.go, ConvertProtocol.
_HTTP = frozenset({"http", "http2", "grpc", "grpc-web", "kubernetes.io/h2c", "kubernetes.io/ws"})
_TCP = frozenset({"tcp", "tls", "https", "mongo", "redis", "mysql", "udp", "hbone", "doublehbone", "kubernetes.io/wss"})

_WAITS = "create it with the version; the release waits for it, and gives up after deadlines.ready"


def of_service(scene: Scene, name: str, service: JsonObject | None) -> Iterator[Finding]:
    """What is wrong with one Service by the name `name`; None where the API server said that there is none."""
    if service is None:
        where = f"Service {scene.target.namespace}/{name}"
        missing = f"there is no Service {name} in namespace {scene.target.namespace}"
        if name == _canarys_own(scene.target):
            yield found("service-missing", where, f"{missing} yet", severity="warning", action=_WAITS)
        else:
            yield found("service-missing", where, missing)
        return
    where, spec = labelled("Service", service), spec_of(service)
    if spec.get("type") == "ExternalName":
        yield found("service-external-name", where, f"it stands for {spec.get('externalName')}, outside of the mesh")
        return
    if spec.get("clusterIP") == "None":
        yield found("service-headless", where, "it is headless: clients that look up its pods pass the weights by")
    yield from _ports(where, spec)


def _canarys_own(target: Target) -> str | None:
    """The Service that only the canary's pods are behind: it may come with them, after the release was made."""
    own = target.host_of(target.canary)
    taken = {target.service, target.host_of(target.stable) if target.stable else None}
    return None if own in taken else own


def _ports(where: str, spec: JsonObject) -> Iterator[Finding]:
    ports = [mapping(one) for one in sequence(spec.get("ports"))]
    by_kind: dict[str, list[str]] = {"http": [], "tcp": [], "guessed": []}
    for port in ports:
        by_kind[protocol(port)].append(str(port.get("name") or port.get("port")))
    if by_kind["tcp"]:
        none = not by_kind["http"] and not by_kind["guessed"]
        yield found(
            "port-not-http",
            where,
            f"{_of(by_kind['tcp'])} by name or appProtocol no HTTP: {'its' if none else 'their'} requests are neither "
            "split nor counted",
            severity="error" if none else "warning",
        )
    if by_kind["guessed"]:
        yield found(
            "port-undeclared", where, f"{_of(by_kind['guessed'])} not declared: Istio has to guess what it speaks"
        )


def _of(names: list[str]) -> str:
    return f"port {names[0]} is" if len(names) == 1 else f"ports {listed(names)} are"


def protocol(port: Mapping[str, object]) -> str:
    """`http`, `tcp`, or `guessed` where Istio sniffs; appProtocol wins over the name's part before the first dash."""
    if port.get("protocol") == "UDP":
        return "tcp"
    said = str(port.get("appProtocol") or "").lower()
    if not said:
        name = str(port.get("name") or "").lower()
        said = "grpc-web" if name.startswith("grpc-web") else name.partition("-")[0]
    if said in _HTTP:
        return "http"
    return "tcp" if said in _TCP else "guessed"


def selects(service: JsonObject | None, labels: Mapping[str, object], version: str) -> Iterator[Finding]:
    """That the Service's selector takes in pods with these labels; a Service without one is somebody else's to fill."""
    selector = mapping(spec_of(service or {}).get("selector"))
    apart = sorted(f"{key}={value}" for key, value in selector.items() if labels.get(key) != value)
    if apart and service is not None:
        yield found(
            "service-selects-not",
            labelled("Service", service),
            f"it selects {listed(apart)}, which the pods of {version} do not carry: no request reaches them",
        )
