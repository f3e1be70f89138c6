"""The words of the gates: one query for the saturation of both versions, and the blanks in people's own PromQL.

Pure; prometheus.py does the talking. Where the names come from: Envoy's "Cluster manager" statistics
(`upstream_rq_pending_overflow`, `circuit_breakers.<priority>`) under the tag `cluster_name` of Istio's
envoy_bootstrap.json; the kubelet's cAdvisor (`container_*`); kube-state-metrics, docs/metrics/workload/pod-metrics.md.
Istio's proxies export cluster statistics only where `proxyStatsMatcher` says so.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from rollout.adapters.promql import literal, quoted
from rollout.core.judging.gates import BREAKERS, MEMORY, PENDING, THROTTLING
from rollout.core.route import subset_name
from rollout.ports import Subject

WINDOW_INTERVALS = 4
"""How many scrapes a rate is taken over: one may be missed, and two are needed."""
SIGNAL, WHOSE = "signal", "whose"
"""Labels of the answer to `saturation`."""
CANARY, STABLE = "canary", "stable"

_NOT_THE_APP = "|POD|istio-proxy"
"""Containers that say nothing about the version: the pod's own cgroup, its pause container, the sidecar."""
_POD_NAME, _HASH = 58, 11
"""A ReplicaSet's name is the Deployment's, a dash and up to ten digits; a pod's is the ReplicaSet's and a dash, cut to
58, and five letters (k8s.io/apiserver pkg/storage/names/generate.go)."""
_BREAKERS = "envoy_cluster_circuit_breakers_default_(cx_open|rq_open|rq_pending_open)"

_TOKEN = re.compile(
    r"""(?P<double>"(?:[^"\\\n]|\\[^\n])*")|(?P<single>'(?:[^'\\\n]|\\[^\n])*')|(?P<raw>`[^`]*`)"""
    r"""|(?P<comment>\#[^\n]*)|(?P<blank>\s+)|(?P<placeholder>\{\{[^{}]*\}\})|(?P<regex>[=!]~)|(?P<other>.)""",
    re.DOTALL,
)
"""PromQL's lexer as far as quotes go (prometheus promql/parser/lex.go: lexString, lexRawString, lexLineComment)."""
_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
_ESCAPES = {ord("\\"): r"\\", **{code: f"\\x{code:02x}" for code in (*range(32), 127)}}


class BadQueryError(ValueError):
    """A custom check's query has a placeholder where none can stand. Says which and where it belongs."""


def window(subject: Subject) -> str:
    """The range of a rate, as PromQL spells it."""
    return f"{round(WINDOW_INTERVALS * subject.interval / timedelta(milliseconds=1))}ms"


def pods(deployment: str) -> str:
    """An RE2 expression that matches the names of a Deployment's pods."""
    if len(deployment) + _HASH + 1 <= _POD_NAME:
        return f"{literal(deployment)}-[a-z0-9]+-[a-z0-9]+"
    return f"{literal(f'{deployment}-'[:_POD_NAME])}[a-z0-9]+(-[a-z0-9]+)?"


def clusters(subject: Subject, version: str, domain: str) -> str:
    """An RE2 expression that matches `cluster_name` of the version's subset, on any port.

    Istio names clusters `outbound|PORT|SUBSET|HOST` (pilot/pkg/model/service.go: BuildSubsetKey); since 1.23 their
    statistics end with a semicolon (DelimitedStatsPrefix). A version's own Service has clusters without a subset. Fixed
    subset names do not say which version they stand for: there the clusters are not measured.
    """
    own = dict(zip(subject.versions, subject.hosts, strict=False)).get(version)
    subset = subset_name(version) if own is None else ""
    host = f"{own or subject.service}.{subject.namespace}.svc.{domain}"
    return rf"outbound\|[0-9]+\|{literal(subset)}\|{literal(host)};?"


def saturation(subject: Subject, domain: str, matchers: Sequence[str] = ()) -> str:
    """Every signal of both versions as one vector, told apart by SIGNAL and WHOSE; "" where neither is known."""
    parts: list[str] = []
    for whose, version, workload in zip((CANARY, STABLE), subject.versions, subject.workloads, strict=True):
        if version:
            cluster = _all(f"cluster_name=~{quoted(clusters(subject, version, domain))}", *matchers)
            refused = _increase(f"envoy_cluster_upstream_rq_pending_overflow{{{cluster}}}", subject)
            # What a full breaker refuses never becomes a request of the cluster (Envoy conn_pool_base.cc).
            served = _increase(f"envoy_cluster_upstream_rq_total{{{cluster}}}", subject)
            parts.append(_tagged(f"{refused} / ({refused} + {served})", PENDING, whose))
            parts.append(_tagged(f"max({{__name__=~{quoted(_BREAKERS)},{cluster}}})", BREAKERS, whose))
        if workload:
            app = _all(
                f"namespace={quoted(subject.namespace)}",
                f"pod=~{quoted(pods(workload))}",
                f"container!~{quoted(_NOT_THE_APP)}",
                *matchers,
            )
            throttled = _increase(f"container_cpu_cfs_throttled_periods_total{{{app}}}", subject)
            periods = _increase(f"container_cpu_cfs_periods_total{{{app}}}", subject)
            parts.append(_tagged(f"{throttled} / {periods}", THROTTLING, whose))
            # cAdvisor stamps its samples itself, so that those of a pod that is gone do not go stale at once.
            used = f"last_over_time(container_memory_working_set_bytes{{{app}}}[{window(subject)}])"
            limit = f'kube_pod_container_resource_limits{{{app},resource="memory"}}'
            by = "(namespace, pod, container)"
            parts.append(_tagged(f"max(max by {by} ({used}) / on {by} max by {by} ({limit}))", MEMORY, whose))
    return " or ".join(parts)


def custom(query: str, subject: Subject, version: str, workload: str) -> str:
    """A custom check's query for one version. Raises BadQueryError."""
    values = {"version": version, "workload": workload, "service": subject.service, "namespace": subject.namespace}
    return filled(query, values, window(subject))


def filled(query: str, values: Mapping[str, str], interval: str) -> str:
    """A custom check's query with its placeholders replaced.

    `{{NAME}}` of `values` stands inside a quoted string, whatever the quotes, and there means exactly its text, also
    in a regular expression (behind =~ and !~). `{{interval}}` stands inside [...]. Raises BadQueryError for a
    placeholder anywhere else, for an unknown one, and for a string without an end.
    """
    out: list[str] = []
    before, depth = "", 0
    for token in _TOKEN.finditer(query):
        kind, text = str(token.lastgroup), token[0]
        match kind:
            case "double" | "single" | "raw":
                text = _in_string(text, values, regex=before == "regex")
            case "placeholder":
                text = _outside(text, values, interval, in_brackets=depth > 0)
            case "comment" if found := _PLACEHOLDER.search(text):
                raise BadQueryError(f"{found[0]} stands in a comment")
            case "other" if text in "\"'`":
                raise BadQueryError(f"a string that begins with {text} has no end")
            case "other":
                depth += {"[": 1, "]": -1}.get(text, 0)
        out.append(text)
        if kind not in {"blank", "comment"}:
            before = kind
    return "".join(out)


def _in_string(source: str, values: Mapping[str, str], *, regex: bool) -> str:
    """A string literal with its placeholders replaced by text that means itself there."""
    quote, body = source[0], source[1:-1]
    meant: Callable[[str], str] = literal if regex else str
    escapes = {} if quote == "`" else {**_ESCAPES, ord(quote): f"\\{quote}"}
    text = _PLACEHOLDER.sub(lambda match: meant(_value(match, values)).translate(escapes), body)
    if text == body:
        return source
    # Nothing can be escaped between backticks, a backtick least of all.
    return quoted(text) if quote == "`" else f"{quote}{text}{quote}"


def _value(match: re.Match[str], values: Mapping[str, str]) -> str:
    name = match[1].strip()
    if name == "interval":
        raise BadQueryError(f"{match[0]} is a duration: it stands inside [...], without quotes")
    if name not in values:
        raise BadQueryError(f"{match[0]} is no placeholder; there are {', '.join(f'{{{{{one}}}}}' for one in values)}")
    return values[name]


def _outside(text: str, values: Mapping[str, str], interval: str, *, in_brackets: bool) -> str:
    name = text[2:-2].strip()
    if name == "interval" and in_brackets:
        return interval
    if name == "interval":
        raise BadQueryError(f"{text} is a duration: it stands inside [...]")
    known = "stands only inside a quoted string" if name in values else "is no placeholder"
    raise BadQueryError(f"{text} {known}")


def _all(*matchers: str) -> str:
    return ",".join(matchers)


def _increase(selector: str, subject: Subject) -> str:
    return f"sum(increase({selector}[{window(subject)}]))"


def _tagged(expression: str, signal: str, whose: str) -> str:
    named = f'label_replace({expression}, "{SIGNAL}", "{signal}", "", "")'
    return f'label_replace({named}, "{WHOSE}", "{whose}", "", "")'
