"""Everything that preflight can find: its code, how bad it is, what to do, where it is explained.

Belongs here: the table, of which docs/preflight.md is the rendering. Does not belong here: how anything is found; each
kind of object has its own file for that. What the route itself has wrong keeps the codes of `virtual_service.py` and
its neighbours (`of_the_route`).
"""

from dataclasses import dataclass

from rollout.core.preflight import Finding, Severity
from rollout.core.route import Problem

_ISTIO = "https://istio.io/latest/docs/"
_SPLIT = _ISTIO + "ops/best-practices/traffic-management/"
_CROSS = _SPLIT + "#cross-namespace-configuration"
_SEVERAL = _SPLIT + "#split-virtual-services"
_INGRESS = _ISTIO + "ops/common-problems/network-issues/#route-rules-have-no-effect-on-ingress-gateway-requests"
_PORTS = _ISTIO + "ops/configuration/traffic-management/protocol-selection/"
_PODS = _ISTIO + "ops/deployment/application-requirements/"
_SIDECAR = _ISTIO + "setup/additional-setup/sidecar-injection/"
_METRICS = _ISTIO + "reference/config/metrics/"
_TELEMETRY = _ISTIO + "reference/config/telemetry/"
_BUCKETS = _ISTIO + "reference/config/annotations/"
_VIRTUAL = _ISTIO + "reference/config/networking/virtual-service/"
_PROMETHEUS = _ISTIO + "ops/integrations/prometheus/"
_RIGHTS = "https://kubernetes.io/docs/reference/access-authn-authz/rbac/"
_DRY = "https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run"
_DEPLOYMENT = "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/"
_SERVICE = "https://kubernetes.io/docs/concepts/services-networking/service/"


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that can be found."""

    code: str
    severities: tuple[Severity, ...]
    """The first is the usual one."""
    meaning: str
    """What is the case, and why it hurts."""
    action: str
    """What to do, where the finding itself does not know it better."""
    link: str


def _rule(code: str, severity: str, meaning: str, action: str, link: str) -> Rule:
    named: dict[str, Severity] = {"error": "error", "warning": "warning", "info": "info"}
    return Rule(code, tuple(named[one] for one in severity.split("/")), meaning, action, link)


_ALL = (
    _rule("not-looked", "warning/info/error", "The API server does not let us read this, so nothing is known of it.",
          "grant the right, or look at it yourself", _RIGHTS),
    _rule("virtual-service-missing", "error", "A VirtualService of the policy does not exist: no route can be stepped.",
          "create it, or name the right one in route", _VIRTUAL),
    _rule("already-released", "error", "The version holds all the traffic already: there is nothing to release.",
          "name the version that is to be released", _VIRTUAL),
    _rule("dry-run-refused", "error/warning",
          "The API server, or istiod's webhook behind it, does not accept the very patch that the release would send.",
          "do what the message says; the release would fail at this write", _DRY),
    _rule("not-allowed", "error", "The controller's account may not make the change that the release begins with.",
          "grant the right to the account that asks", _RIGHTS),
    _rule("subset-shadowed", "error/warning",
          "Clients look for a DestinationRule in their own namespace first, and the one there lacks a subset of the "
          "release: their share for it is answered 503 NC.",
          "delete that rule, or give it the same subsets before the release", _CROSS),
    _rule("several-rules", "warning",
          "Several DestinationRules of the namespace are for this service: Istio merges them, the oldest subset of a "
          "name and the oldest trafficPolicy win.",
          "leave one rule for the service", _SEVERAL),
    _rule("not-exported", "warning",
          "exportTo hides the object from a namespace whose clients call the service: without the DestinationRule they "
          "get 503, without the VirtualService they follow no weights.",
          "export it to that namespace", _CROSS),
    _rule("virtual-service-conflict", "error/warning",
          "Another VirtualService has the same host on the same gateway. In the mesh the older one wins and the other "
          "is ignored; at a gateway their routes are joined, oldest first.",
          "leave one VirtualService for the host, or name both in route.virtualServices", _SEVERAL),
    _rule("mesh-not-stepped", "warning",
          "The VirtualServices are bound to gateways only, but the mesh calls the service too: these requests follow "
          "no weights and reach pods of every version.",
          "add `mesh` to its gateways, or a VirtualService for the mesh to route.virtualServices", _INGRESS),
    _rule("ingress-not-stepped", "warning",
          "Another route sends to the service from a gateway: those requests do not follow the weights.",
          "name it in route.virtualServices, so that both are stepped together", _INGRESS),
    _rule("other-route", "warning",
          "A VirtualService for another host sends to this service: those requests do not follow the weights.",
          "name it in route.virtualServices, or let its clients call the service by its own name", _VIRTUAL),
    _rule("delegate-root", "info", "The route is a delegate: this VirtualService hands requests to it.",
          "nothing; its match decides which requests take part", _VIRTUAL),
    _rule("mixed-apis", "error",
          "A Gateway API route is attached to the same Service. Istio calls the mixture undefined: which of the two is "
          "in force nobody can tell.",
          "keep the VirtualService or the Gateway API route, not both", _ISTIO + "ambient/usage/l7-features/"),
    _rule("service-missing", "error/warning", "There is no such Service: nobody can call it.",
          "create it, or name the service that is meant", _SERVICE),
    _rule("service-external-name", "warning",
          "The Service is a name for something outside: its pods are not Istio's to choose between.",
          "release the Service that has the pods", _SERVICE),
    _rule("service-headless", "warning",
          "The Service is headless: clients that resolve pods by themselves may pass the weights by.",
          "give it a clusterIP, unless every client calls it by name over HTTP", _PORTS),
    _rule("service-selects-not", "error",
          "The Service does not select the pods of the version: its subset is empty, its share is answered 503 UH.",
          "let the Service select by labels that all versions have", _SERVICE),
    _rule("port-not-http", "error/warning",
          "Istio treats the port as TCP: its requests are neither split by weight nor counted in istio_requests_total.",
          "name the port http-…, http2-… or grpc-…, or set appProtocol", _PORTS),
    _rule("port-undeclared", "warning",
          "Nothing says what the port speaks: Istio guesses from the first bytes; what it does not recognize is TCP.",
          "name the port http-…, http2-… or grpc-…, or set appProtocol", _PORTS),
    _rule("canary-not-ready", "warning", "The version's pods are missing or not ready: the release waits for them.",
          "deploy the version; the release gives up after deadlines.ready", _DEPLOYMENT),
    _rule("no-sidecar", "warning",
          "Pods of the version have no proxy: they report no metrics of their own, speak no mTLS, and as clients they "
          "follow no weights.",
          "let the pods be injected, and restart them", _SIDECAR),
    _rule("version-label-differs", "error/warning",
          "Pods of the version do not carry the labels that its subset selects by (a copied one selects by all that "
          "stable's does): the subset is empty, its share is answered 503 UH.",
          "set the label in the Deployment's pod template, or name the right one in podLabel", _PODS),
    _rule("revisions-collapse", "error/info",
          "Both versions have the same canonical revision, so their requests cannot be told apart by it.",
          "label the pods of each version with `version`", _PODS),
    _rule("revision-differs", "error",
          "The metrics name the version otherwise than the release does: its requests would be taken for another's.",
          "let app.kubernetes.io/version and the version label agree, or change metrics.versionLabel", _METRICS),
    _rule("kiali-wizard", "warning", "The object was made by a Kiali wizard, which writes all weights when used again.",
          "do not use the wizard on this service, or remove the label", "https://kiali.io/docs/features/"),
    _rule("gitops-owner", "warning",
          "A GitOps tool owns the routes of this object: as soon as it applies its manifest, the weights are its own "
          "again.",
          "make it ignore weights and subsets", "https://argo-cd.readthedocs.io/en/stable/user-guide/diffing/"),
    _rule("telemetry-disabled", "error/warning",
          "A Telemetry switches off a metric that the release is judged by: it would be blind.",
          "remove the override, or enable the metric for these namespaces", _TELEMETRY),
    _rule("telemetry-tags", "warning", "A Telemetry removes or replaces a label that the release is judged by.",
          "remove the tagOverride", _TELEMETRY),
    _rule("series-not-read", "warning",
          "Prometheus answers, but refuses a question about the service, or takes too long over it: the rules that "
          "need the answer were left out.",
          "ask Prometheus how many series the service has; the release may not be judged in time", _PROMETHEUS),
    _rule("no-traffic", "warning", "There are no requests to the service: a canary cannot be judged without.",
          "release while there is traffic, or send some", _METRICS),
    _rule("no-reporter", "error",
          "None of the policy's reporters counts requests to the service, but others do: the release would be blind.",
          "name the reporters that there are in metrics.reporters, or inject the clients", _METRICS),
    _rule("counted-twice", "warning",
          "Client and server both report, and the policy counts both: every request is counted twice.",
          "leave `source` and `waypoint` in metrics.reporters, or `destination` alone", _METRICS),
    _rule("tag-missing", "error", "A label that the release is judged by is on no series: something removes it.",
          "look for Telemetry overrides and for relabelling in Prometheus", _TELEMETRY),
    _rule("version-label", "info", "The label that tells the versions apart, and why it was chosen.",
          "nothing", _METRICS),
    _rule("version-label-weak", "warning",
          "Only destination_version tells the versions apart; at the client it is unknown for exactly the requests "
          "that got no answer.",
          "give each version a Deployment of its own, named as in the policy's deployment", _METRICS),
    _rule("versions-not-told-apart", "error", "There is traffic, but no label names stable: nothing could be judged.",
          "correct deployment or metrics.versionLabel in the policy, or label the pods", _METRICS),
    _rule("bound-missing", "error",
          "No histogram has a bucket at a latency bound of the policy: the share of slower requests is unknown.",
          "choose a bound that exists, or add it with statsHistogramBuckets", _BUCKETS),
    _rule("no-histogram", "error", "The policy judges latency, but there is no histogram of it.",
          "see that REQUEST_DURATION is on and has classic buckets, or switch the latency checks off", _TELEMETRY),
    _rule("buckets-differ", "warning",
          "Proxies have different histogram buckets: only bounds that all of them have can be compared.",
          "give all pods and clients the same statsHistogramBuckets", _BUCKETS),
    _rule("buckets-not-as-told", "warning", "The mesh has not the histogram bounds that metrics.buckets lists.",
          "list the bounds that there are", _BUCKETS),
    _rule("slow-scrape", "warning",
          "Prometheus scrapes less often than the policy looks: most looks see nothing new.",
          "set interval to the scrape interval", _PROMETHEUS),
    _rule("mirrored", "warning",
          "Mirrored requests go to the version, and the policy counts at the server, where nobody can tell them from "
          "real ones.",
          "remove the mirror, or count reporter `source`", _VIRTUAL),
)  # fmt: skip

CATALOGUE: dict[str, Rule] = {rule.code: rule for rule in _ALL}


def found(code: str, where: str, message: str, *, action: str = "", severity: Severity | None = None) -> Finding:
    """A finding of the catalogue about one object; `message` is one sentence without a full stop."""
    rule = CATALOGUE[code]
    chosen = severity or rule.severities[0]
    assert chosen in rule.severities, f"{code} is never {chosen}"
    return Finding(code, chosen, where, message, action or rule.action, rule.link)


def of_the_route(problem: Problem, where: str) -> Finding:
    """What keeps the route from being stepped, in its own words: the part behind the last colon is the action."""
    message, _, action = problem.message.rpartition(": ")
    return Finding(
        problem.code, "error", where, message or action, action if message else "correct the route", _VIRTUAL
    )
