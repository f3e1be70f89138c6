"""Releases as tables for people and as objects for scripts. Pure: release in, text out."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

from rollout.cli.choices import Output
from rollout.cli.exits import outcome_of
from rollout.cli.narrative import answer_of, duration_of, requests_of, sentence, waits_for
from rollout.cli.terminal import bar, columns, evidence_bar
from rollout.cli.weighing import chance, threshold, weighed
from rollout.cli.why import sort_of, unmeasured
from rollout.core.gating import GateRun
from rollout.core.judging.verdicts import Verdict, odds
from rollout.core.quantities import format_duration, format_instant
from rollout.core.release import Phase, Release, Status, StepRecord

_AGE_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def document(release: Release) -> dict[str, Any]:
    """The object that scripts read: `spec` and `status` as they are stored, beside what names the release.

    `exitCode` is what `rollout wait` exits with; absent while the release is under way.
    """
    found: dict[str, Any] = {"id": release.name, "namespace": release.namespace}
    if release.created_at is not None:
        found["createdAt"] = format_instant(release.created_at)
    if release.problem:
        found["problem"] = release.problem
    found["summary"] = sentence(release)
    if release.status.phase.terminal:
        found["exitCode"] = int(outcome_of(release))
    return {**found, "spec": release.spec.wire(), "status": release.status.wire()}


def encoded(value: Any, output: Output) -> str:
    """JSON or YAML in ASCII: whatever control or bidi characters user text holds are escaped.

    So is the second of two `#` in a string, which a CI system's runner may take for a command (`terminal.printable`).
    """
    if output is Output.JSON:
        return one_line(value, indent=2)
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import SafeRepresenter

    class Representer(SafeRepresenter):
        """With our own word on strings, which no other YAML of this process shall share."""

    Representer.add_representer(str, _quoted_if_doubtful)
    yaml, text = YAML(typ="safe", pure=True), StringIO()
    yaml.Representer = Representer
    yaml.default_flow_style = False
    yaml.allow_unicode = False
    yaml.width = 1 << 20  # a folded line could begin with what a runner takes for a command
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel annotates it as None
    yaml.dump(value, text)
    return text.getvalue().rstrip("\n").replace("##", r"#\x23")


def one_line(value: Any, indent: int | None = None) -> str:
    """JSON on one line, unless it shall be indented."""
    return json.dumps(value, indent=indent).replace("##", r"#\u0023")


def _quoted_if_doubtful(representer: Any, text: str) -> Any:
    """Between double quotes, where escapes are possible, if there is something to escape."""
    style = '"' if "##" in text else None
    return representer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def overview(releases: Iterable[Release], now: datetime, *, namespaces: bool) -> list[str]:
    """One row per release: where each stands."""
    head = ["SERVICE", "ID", "VERSION", "PHASE", "WEIGHT", "STEP", "REASON", "AGE"]
    rows = []
    for release in releases:
        status = release.status
        row = [
            release.spec.service,
            release.name,
            release.spec.version,
            status.phase.value,
            f"{status.weight}%",
            step_of(release),
            status.reason or "-",
            age_of(release, now),
        ]
        rows.append([release.namespace, *row] if namespaces else row)
    return columns(["NAMESPACE", *head] if namespaces else head, rows)


def portrait(release: Release, now: datetime) -> list[str]:
    """One release in full: the split, the steps, the checks, what it waits for."""
    status, spec = release.status, release.spec
    facts = [
        ("release", f"{release.name} in {release.namespace}"),
        ("version", f"{spec.version} of {spec.service}" + (f", against {status.stable}" if status.stable else "")),
        ("asked for", _asked(release)),
        ("phase", status.phase.value + (f" ({status.reason})" if status.reason else "")),
        ("traffic", f"{bar(status.weight)} {status.weight} % to {spec.version}"),
        *_weighing(status),
        *_terms(release),
        _stands(release, now),
    ]
    lines = columns(["", ""], facts)[1:]
    if status.steps:
        rows = [[f"{one.weight}%", _since(one, status.finished_at or now), requests_of(one)] for one in status.steps]
        lines += ["", *columns(["STEP", "LASTED", "CANARY"], rows)]
    if status.verdicts:
        lines += ["", *_checks(status)]
    if status.gate_runs:
        rows = [_gate(run, status) for run in status.gate_runs]
        lines += ["", *columns(["GATE", "KIND", "STATE", "SINCE", "ANSWER"], rows)]
    return lines


def _gate(run: GateRun, status: Status) -> list[str]:
    kinds = {gate.name: gate.kind for gate in status.policy.gates} if status.policy is not None else {}
    since = format_instant(run.since)[:19] + "Z"
    return [run.gate, kinds.get(run.gate, "-"), run.state, since, answer_of(run) if run.by or run.message else "-"]


def _terms(release: Release) -> list[tuple[str, str]]:
    """How it was asked to start, before it does."""
    spec, words = release.spec, {"queue": "waits for the one before it", "supersede": "has the one before it put back"}
    if release.status.phase is not Phase.PENDING:
        return []
    facts = [("starts", f"not before {format_instant(spec.not_before)}")] if spec.not_before is not None else []
    return [*facts, ("conflict", words[spec.on_conflict])] if spec.on_conflict in words else facts


def _stands(release: Release, now: datetime) -> tuple[str, str]:
    if release.status.phase.terminal:
        return "outcome", sentence(release)
    said, suspected = waits_for(release, now), "suspected: "
    return ("suspected", said.removeprefix(suspected)) if said.startswith(suspected) else ("waits for", said)


def _weighing(status: Status) -> list[tuple[str, str]]:
    found = weighed(status)
    if found is None:
        return []
    kind = {"open": "", "guilty": ""}.get(found.kind, f" ({found.kind})")
    return [("evidence", f"{evidence_bar(found.evidence, found.convicts, 20)} {chance(found)}{kind}")]


def _checks(status: Status) -> list[str]:
    """A row per check, then what could not be looked at."""
    rows = [
        [one.check, one.outcome, one.reason or "-", _evidence(one), _proof(one, status), one.message]
        for one in status.verdicts
        if one.outcome != "unmeasured"
    ]
    lines = columns(["CHECK", "VERDICT", "REASON", "EVIDENCE", "PROOF", "MESSAGE"], rows) if rows else []
    missing = unmeasured(status)
    return [*lines, f"not measured: {missing}"] if missing else lines


def _evidence(verdict: Verdict) -> str:
    """A bar that is full where this check alone convicts, or asks for a control; a dash where nothing is bet."""
    if sort_of(verdict.check) in {"gate", "full weight"}:
        return "threshold"
    if verdict.convicts <= 1:
        return "-"
    return f"{evidence_bar(verdict.evidence, verdict.convicts, 8)} {odds(verdict.evidence)}"


def _proof(verdict: Verdict, status: Status) -> str:
    if sort_of(verdict.check) != "stable" or status.policy is None or verdict.value is None:
        return "-"
    needed = 1 / status.policy.judge.proof.risk
    return "proven" if verdict.proof >= needed else f"{odds(verdict.proof)} of {threshold(needed)}"


def chronicle(releases: Iterable[Release]) -> list[str]:
    """One row per release: how each went."""
    rows = []
    for release in releases:
        status = release.status
        took = duration_of(release)
        rows.append(
            [
                release.name,
                release.spec.version,
                status.phase.value,
                status.reason or "-",
                format_instant(status.started_at)[:19] + "Z" if status.started_at else "-",
                format_duration(took) if took is not None else "-",
                str(sum(step.canary_requests for step in status.steps)),
                str(sum(step.canary_errors for step in status.steps)),
            ]
        )
    return columns(["ID", "VERSION", "OUTCOME", "REASON", "STARTED", "DURATION", "REQUESTS", "ERRORS"], rows)


def newest_of_each(releases: Sequence[Release]) -> list[Release]:
    """Of each service the release that is meant by its name (`meant_of`). `releases` are oldest first."""
    of: dict[tuple[str, str], list[Release]] = {}
    for release in releases:
        of.setdefault((release.namespace, release.spec.service), []).append(release)
    return [meant_of(of[service]) for service in sorted(of)]


def meant_of(releases: Sequence[Release]) -> Release:
    """Of one service's, oldest first: the newest that has begun, else that waits for its start, else that is over.

    One that waits never hides the one that has the traffic: who types `abort SERVICE` means that one.
    """
    unfinished = [release for release in releases if not release.status.phase.terminal]
    begun = [release for release in unfinished if release.status.phase is not Phase.PENDING]
    return (begun or unfinished or releases)[-1]


def age_of(release: Release, now: datetime) -> str:
    """How long ago it was created, in its largest unit, as kubectl prints it."""
    if release.created_at is None:
        return "-"
    seconds = max(0, int((now - release.created_at) / timedelta(seconds=1)))
    return next((f"{seconds // size}{unit}" for unit, size in _AGE_UNITS if seconds >= size), "0s")


def step_of(release: Release) -> str:
    """`2/4`, or `-` before the first step."""
    status = release.status
    if status.step is None:
        return "-"
    return f"{status.step + 1}/{len(status.policy.steps)}" if status.policy is not None else str(status.step + 1)


def _since(record: StepRecord, now: datetime) -> str:
    return format_duration(timedelta(seconds=max(0, round(((record.until or now) - record.since).total_seconds()))))


def _asked(release: Release) -> str:
    source = release.spec.source
    when = format_instant(release.created_at)[:19] + "Z" if release.created_at else "at an unknown time"
    by = f" by {source.actor}" if source.actor else ""
    return when + by + (f": {source.reason}" if source.reason else "") + (f" {source.url}" if source.url else "")
