"""The table of resources the sandbox's API serves, and how each differs from the others.

Belongs here: facts about resources, as data. Does not belong here: code that acts on objects, table columns
(`tables.py`), field conversion between versions (`conversion.py`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

JsonObject = dict[str, Any]
"""A decoded JSON object. Objects in the store are shared between readers: copy before changing one."""


@dataclass(frozen=True, slots=True, order=True)
class GroupVersion:
    """An API group and one of its versions; the core group is `""`."""

    group: str
    version: str

    @property
    def text(self) -> str:
        """As written in `apiVersion`: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def path(self) -> str:
        """As written in URLs, without slashes around: `api/v1`, `apis/apps/v1`."""
        return f"apis/{self.text}" if self.group else f"api/{self.version}"


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One kind of object.

    Attributes:
        served: group versions it can be read and written under; the first one is what is stored.
        custom: defined by a CRD in a real cluster: no strategic merge patch, `kind` on list items, unknown
            fields kept.
        status: has `/status`; then the object itself ignores writes of `.status`.
        generations: counts `metadata.generation`.
        annotations_count: an edit of annotations is a new generation too (only Deployments do this:
            kubernetes pkg/registry/apps/deployment/strategy.go, PrepareForUpdate).
        blind_put: PUT without `metadata.resourceVersion` is allowed (AllowUnconditionalUpdate).
        put_creates: PUT of an object that does not exist creates it (AllowCreateOnUpdate).
        label_names: names must be DNS labels (no dots), not DNS subdomains; `"1035"` also forbids a leading digit.
        selectable: field selector -> path in the stored object, besides metadata.name and metadata.namespace.
    """

    kind: str
    plural: str
    served: tuple[GroupVersion, ...]
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    custom: bool = False
    status: bool = False
    scale: bool = False
    generations: bool = False
    annotations_count: bool = False
    blind_put: bool = True
    put_creates: bool = False
    label_names: str = ""
    selectable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def singular(self) -> str:
        """The lower-case kind, as kubectl accepts it."""
        return self.kind.lower()

    @property
    def stored(self) -> GroupVersion:
        """The group version objects are kept in."""
        return self.served[0]

    @property
    def key(self) -> str:
        """`releases.rollout.dev`, `services`: unique, and what messages of the real server call a resource."""
        return f"{self.plural}.{self.stored.group}" if self.stored.group else self.plural

    def served_in(self, group: str) -> tuple[GroupVersion, ...]:
        """The versions of one group this resource is served under, best first."""
        return tuple(gv for gv in self.served if gv.group == group)


def _custom(kind: str, plural: str, *served: GroupVersion, **more: Any) -> Resource:
    return Resource(kind, plural, served, custom=True, generations=True, blind_put=False, **more)


_CORE: Final = GroupVersion("", "v1")
_APPS: Final = GroupVersion("apps", "v1")
_ISTIO: Final = tuple(GroupVersion("networking.istio.io", v) for v in ("v1", "v1beta1", "v1alpha3"))
_ROLLOUT: Final = GroupVersion("rollout.dev", "v1alpha1")

_EVENT_FIELDS: Final = {
    **{f"involvedObject.{leaf}": ("involvedObject", leaf)
       for leaf in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")},
    "reason": ("reason",),
    "reportingComponent": ("reportingComponent",),
    "source": ("source", "component"),
    "type": ("type",),
}  # fmt: skip

NAMESPACES: Final = Resource(
    "Namespace", "namespaces", (_CORE,), ("ns",),
    namespaced=False, status=True, label_names="1123", selectable={"status.phase": ("status", "phase")},
)  # fmt: skip
SERVICES: Final = Resource(
    "Service", "services", (_CORE,), ("svc",), ("all",), status=True, put_creates=True, label_names="1035",
    selectable={"spec.type": ("spec", "type"), "spec.clusterIP": ("spec", "clusterIP")},
)  # fmt: skip
PODS: Final = Resource(
    "Pod", "pods", (_CORE,), ("po",), ("all",), status=True,
    selectable={"status.phase": ("status", "phase"), "spec.nodeName": ("spec", "nodeName"),
                "status.podIP": ("status", "podIP")},
)  # fmt: skip
EVENTS: Final = Resource(
    "Event", "events", (_CORE, GroupVersion("events.k8s.io", "v1")), ("ev",),
    put_creates=True, selectable=_EVENT_FIELDS,
)  # fmt: skip
CONFIGMAPS: Final = Resource("ConfigMap", "configmaps", (_CORE,), ("cm",))
SECRETS: Final = Resource("Secret", "secrets", (_CORE,), selectable={"type": ("type",)})
DEPLOYMENTS: Final = Resource(
    "Deployment", "deployments", (_APPS,), ("deploy",), ("all",),
    status=True, scale=True, generations=True, annotations_count=True,
)  # fmt: skip
JOBS: Final = Resource("Job", "jobs", (GroupVersion("batch", "v1"),), (), ("all",), status=True, generations=True)
LEASES: Final = Resource(
    "Lease", "leases", (GroupVersion("coordination.k8s.io", "v1"),), blind_put=False, put_creates=True
)
VIRTUAL_SERVICES: Final = _custom(
    "VirtualService", "virtualservices", *_ISTIO,
    short_names=("vs",), categories=("istio-io", "networking-istio-io"), status=True,
)  # fmt: skip
DESTINATION_RULES: Final = _custom(
    "DestinationRule", "destinationrules", *_ISTIO,
    short_names=("dr",), categories=("istio-io", "networking-istio-io"), status=True,
)  # fmt: skip
# Their further names are in `definitions.py`.
RELEASES: Final = _custom("Release", "releases", _ROLLOUT, status=True)
SERVICE_POLICIES: Final = _custom("ServicePolicy", "servicepolicies", _ROLLOUT)
FREEZES: Final = _custom("Freeze", "freezes", _ROLLOUT)

RESOURCES: Final = (
    NAMESPACES, SERVICES, PODS, EVENTS, CONFIGMAPS, SECRETS, DEPLOYMENTS, JOBS, LEASES,
    VIRTUAL_SERVICES, DESTINATION_RULES, RELEASES, SERVICE_POLICIES, FREEZES,
)  # fmt: skip

_BY_PATH: Final = {(gv, r.plural): r for r in RESOURCES for gv in r.served}


def find(group_version: GroupVersion, plural: str) -> Resource | None:
    """The resource served at that place, if any."""
    return _BY_PATH.get((group_version, plural))


def served_group_versions() -> tuple[GroupVersion, ...]:
    """Every served group version; within a group the preferred version comes first."""
    return tuple(dict.fromkeys(gv for r in RESOURCES for gv in r.served))


def resources_in(group_version: GroupVersion) -> Iterable[Resource]:
    """The resources served under one group version."""
    return (r for r in RESOURCES if group_version in r.served)
