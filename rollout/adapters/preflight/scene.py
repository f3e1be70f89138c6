"""What every rule needs to know besides the objects it looks at, and what any object says about itself.

Belongs here: names, namespaces, hosts, visibility. Does not belong here: any finding.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from rollout.adapters.destination_rule import JsonObject, mapping, sequence
from rollout.core.policy import PolicySpec
from rollout.core.route import Target

MESH = "mesh"


@dataclass(frozen=True, slots=True)
class Scene:
    """A release that may begin, and what is known of its surroundings."""

    target: Target
    """With `stable`, where that is known."""
    policy: PolicySpec
    domain: str = "cluster.local"
    root: str = "istio-system"
    """Istio's root namespace."""
    clients: frozenset[str] = frozenset()
    """Namespaces from which the service was called lately."""
    reporters: frozenset[str] = frozenset()
    """Who counted these requests."""

    @property
    def service(self) -> str:
        """The service as it is called in findings."""
        return f"Service {self.target.namespace}/{self.target.service}"

    @property
    def fqdn(self) -> str:
        """The service's full host name."""
        return self.full(self.target.service)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Full names of all Services behind which its pods are: its own, and in the host mode each version's."""
        versions = (one for one in (self.target.canary, self.target.stable) if one)
        names = (self.target.host_of(version) for version in versions)
        return tuple(dict.fromkeys((self.fqdn, *(self.full(name) for name in names if name))))

    @property
    def counting(self) -> frozenset[str]:
        """The policy's reporters that do count; where none is seen, those that it may mean. A waypoint is rare."""
        wanted = frozenset(self.policy.metrics.reporters)
        return wanted & self.reporters or wanted - {"waypoint"} or wanted

    def full(self, service: str) -> str:
        """Full host name of a Service of the namespace."""
        return f"{service}.{self.target.namespace}.svc.{self.domain}"

    def resolved(self, host: object, namespace: str) -> str:
        """A host as an object of `namespace` means it: names without a dot are expanded, all else is taken as it is.

        Rule: pilot/pkg/model/config.go, ResolveShortnameToFQDN. "" for what is no text.
        """
        if not isinstance(host, str) or not host:
            return ""
        name = host.lower()
        return name if "." in name or "*" in name else f"{name}.{namespace}.svc.{self.domain}"

    def means(self, host: object, namespace: str) -> bool:
        """Whether it is this service, or in the host mode one of its versions."""
        return self.resolved(host, namespace) in self.hosts

    def covers(self, host: object, namespace: str) -> bool:
        """The same, or a wildcard that the service falls under."""
        name = self.resolved(host, namespace)
        return name in self.hosts or (name.startswith("*") and self.fqdn.endswith(name[1:]))


def name_of(obj: JsonObject) -> str:
    """metadata.name; "" where there is none."""
    return str(mapping(obj.get("metadata")).get("name") or "")


def namespace_of(obj: JsonObject) -> str:
    """metadata.namespace; "" where there is none."""
    return str(mapping(obj.get("metadata")).get("namespace") or "")


def labelled(kind: str, obj: JsonObject) -> str:
    """`DestinationRule web/checkout`."""
    return f"{kind} {namespace_of(obj)}/{name_of(obj)}"


def spec_of(obj: JsonObject) -> JsonObject:
    """spec; empty where there is none."""
    return mapping(obj.get("spec"))


def age_of(obj: JsonObject) -> tuple[str, str, str]:
    """Sorts as Istio does where the oldest wins (pilot/pkg/model/config.go, configCompareByCreationTime)."""
    return str(mapping(obj.get("metadata")).get("creationTimestamp") or ""), name_of(obj), namespace_of(obj)


def exported(obj: JsonObject, namespace: str) -> bool:
    """Whether clients in `namespace` see it. Where exportTo is absent the mesh's default decides: everywhere."""
    places = [str(one) for one in sequence(spec_of(obj).get("exportTo"))]
    return not places or "*" in places or namespace in places or ("." in places and namespace == namespace_of(obj))


def listed(names: Iterable[str], most: int = 3) -> str:
    """`a, b, c and 4 more`; sets are sorted, all else keeps its order."""
    ordered = sorted(names) if isinstance(names, (set, frozenset)) else [*names]
    more = len(ordered) - most
    return ", ".join(ordered[:most]) + (f" and {more} more" if more > 0 else "")
