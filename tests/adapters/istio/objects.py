"""Istio's objects as tests put them on an API: the plainest ones of service `checkout`, in namespace `shop`."""

from tests.adapters.istio.shapes import JsonObject

SERVICES = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices"
RULES = "/apis/networking.istio.io/v1/namespaces/shop/destinationrules"


def virtual_service(*destinations: JsonObject, name: str = "checkout", namespace: str = "shop") -> JsonObject:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace, "annotations": {"team": "payments"}},
        "spec": {"hosts": ["checkout"], "http": [{"timeout": "5s", "route": list(destinations)}]},
    }


def destination(version: str, weight: int | None = None, host: str = "checkout") -> JsonObject:
    entry: JsonObject = {"destination": {"host": host, "subset": version}}
    return entry if weight is None else entry | {"weight": weight}


def destination_rule(*versions: str, name: str = "checkout") -> JsonObject:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "host": "checkout",
            "subsets": [
                {"name": version, "labels": {"version": version}, "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}
                for version in versions
            ],
        },
    }
