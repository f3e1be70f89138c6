"""The words of the queries: PromQL text out, Istio's metric labels in. Pure; prometheus.py does the talking.

Label names and what they hold for each kind of failure: istio_stats.cc of Istio's telemetry filter
(`populatePeerInfo`, `extractEndpointMetadata`); response flags: Envoy's access log documentation. The words for
saturation and for custom checks are in promql_gates.py.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from rollout.core.counts import Group, Instance
from rollout.ports import Subject

COUNTER = "istio_requests_total"
BUCKET = "istio_request_duration_milliseconds_bucket"

_RE2_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")
_PORT = re.compile(r":\d+$")
# No host was chosen, or the one chosen was never reached: the answer is the proxy's own.
_NEVER_REACHED = frozenset({"UH", "NC", "NR", "UF"})
# No host was chosen: sidecars report canonical revision "latest" as if it were a version. UO is a full circuit breaker.
_NO_HOST = frozenset({"UH", "NC", "NR", "UO"})
# Delays and aborts that an operator ordered in the VirtualService (`fault`): no fault of any version.
_INJECTED = frozenset({"DI", "FI"})


def quoted(text: str) -> str:
    """A PromQL string literal. JSON's escapes are a subset of PromQL's (Go's), whatever the text."""
    return json.dumps(text, ensure_ascii=False)


def literal(text: str) -> str:
    """An RE2 expression that matches exactly this text."""
    return _RE2_SPECIAL.sub(lambda match: "\\" + match[0], text)


def any_of(texts: Iterable[str]) -> str:
    """An RE2 expression that matches exactly one of these texts."""
    return "|".join(literal(text) for text in sorted(set(texts)))


def hosts(subjects: Iterable[Subject], domain: str) -> str:
    """An RE2 expression for `destination_service`: the full name, and what failures without a cluster carry.

    Those (NC, NR) carry the client's Host header: `svc`, `svc.ns`, `svc.ns.svc`, each with or without a port.
    """
    tail = literal(domain)
    names = sorted({place[::-1] for subject in subjects for place in places(subject)})
    each = (f"{literal(service)}([.]{literal(space)}([.]svc([.]{tail})?)?)?" for service, space in names)
    return f"({'|'.join(each)})(:[0-9]+)?"


def places(subject: Subject) -> tuple[tuple[str, str], ...]:
    """(namespace, service) of every Service that this subject's requests are for: all clients call the first."""
    return tuple((subject.namespace, service) for service in (subject.service, *subject.hosts))


def bounds(milliseconds: Iterable[float]) -> str:
    """An RE2 expression for `le`: these bounds however they are spelled (50, 50.0, 3.6e+06), and +Inf."""
    values = set(milliseconds)
    spelled = {f"{bound:.15g}" for bound in values} | {repr(float(bound)) for bound in values}
    spelled |= {text for bound in values if float(text := f"{bound:g}") == bound}
    return any_of(spelled | {"+Inf"})


def requests(subjects: Iterable[Subject], domain: str, matchers: Sequence[str] = ()) -> str:
    """The selector of the request counters of all these subjects, which share their reporters."""
    return f"{COUNTER}{{{_where(subjects, domain, matchers)}}}"


def durations(subjects: Iterable[Subject], domain: str, matchers: Sequence[str] = ()) -> str:
    """The selector of the histogram buckets that these subjects are judged by, and no others."""
    asked = tuple(subjects)
    le = bounds(bound for subject in asked for bound in subject.bounds_ms)
    return f"{BUCKET}{{{_where(asked, domain, matchers)},le=~{quoted(le)}}}"


def everything(subject: Subject, domain: str, matchers: Sequence[str] = ()) -> str:
    """One selector for both, to be pasted by a person: a series without `le` matches the empty alternative."""
    names = quoted(f"{COUNTER}|{BUCKET}")
    le = quoted("|" + bounds(subject.bounds_ms))
    return f"{{__name__=~{names},{_where([subject], domain, matchers)},le=~{le}}}"


def ups(instances: Iterable[Instance], matchers: Sequence[str] = ()) -> str:
    """The selector of `up` for these scrape targets (and perhaps more: every pair of a job and an instance)."""
    pairs = tuple(instances)
    jobs, names = any_of(job for job, _ in pairs), any_of(instance for _, instance in pairs)
    return f"up{{{','.join((f'job=~{quoted(jobs)}', f'instance=~{quoted(names)}', *matchers))}}}"


def _where(subjects: Iterable[Subject], domain: str, matchers: Sequence[str]) -> str:
    asked = tuple(subjects)
    reporters = any_of(reporter for subject in asked for reporter in subject.policy.reporters)
    ours = f"reporter=~{quoted(reporters)}", f"destination_service=~{quoted(hosts(asked, domain))}"
    return ",".join((*ours, *matchers))


def destination(labels: Mapping[str, str], domain: str) -> tuple[str, str] | None:
    """(namespace, service) that a series is about; None where its Host header does not say.

    A short name means the service of that name in the client's own namespace.
    """
    host = _PORT.sub("", labels.get("destination_service", ""))
    name = host.removesuffix(f".svc.{domain}").removesuffix(".svc")
    service, dot, namespace = name.partition(".")
    if not dot:
        namespace = labels.get("source_workload_namespace", "")
    return (namespace, service) if service and namespace else None


def group_of(labels: Mapping[str, str], subject: Subject, service: str = "") -> Group:
    """Whose requests a series of this subject counts; `service` as `destination` found it.

    A version's own Service tells the version even where no peer did: the route had chosen it already. Without a cluster
    (NC, NR) there is only the Host header, and that is the apex: nobody's.
    """
    flags = frozenset(labels.get("response_flags", "").split(","))
    label = subject.policy.series_label
    version = labels.get(label, "")
    if flags & _INJECTED:
        return "other"
    # The server's own proxy knows its revision, whatever went wrong.
    nameless = version in {"", "unknown"} or (
        label == "destination_canonical_revision"
        and version == "latest"
        and labels.get("reporter") != "destination"
        and bool(flags & _NO_HOST)
    )
    if nameless and service in subject.hosts:
        return "canary" if service == subject.hosts[0] else "stable"
    if nameless:
        failed = labels.get("response_code", "").startswith("5")
        return "lost" if failed or flags & _NEVER_REACHED else "other"
    if version == subject.canary:
        return "canary"
    return "stable" if version == subject.stable else "other"


def instance_of(labels: Mapping[str, str]) -> Instance:
    """The scrape target that exposed a series."""
    return labels.get("job", ""), labels.get("instance", "")
