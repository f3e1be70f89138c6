"""What `rollout replay` found, as text for people and as objects for scripts. Pure; finding it is replaying.py's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rollout.cli import views
from rollout.cli.asking import Known
from rollout.cli.choices import Output
from rollout.cli.terminal import columns
from rollout.core.judging.clumps import Learned
from rollout.core.judging.evidence import failed
from rollout.core.judging.verdicts import odds
from rollout.core.quantities import format_duration, format_share
from rollout.core.replay.rehearsal import Fault, History, Outcome
from rollout.core.replay.replaying import Review, Stay, Turn
from rollout.core.replay.suggestions import FEWEST, Suggestion

OPTIMISTIC = (
    "stable's pods cannot be told apart in this history: its requests were split one by one, which also splits bursts "
    "of errors that in truth hit one version. The result is optimistic."
)
_TOO_FEW = 20
"""Below so many releases that fit into the history side by side, its 95 % interval is too narrow to be believed."""


@dataclass(frozen=True, slots=True)
class Account:
    """What pseudo-releases came to."""

    history: History
    apart: int
    healthy: Outcome
    faulty: Mapping[Fault, Outcome]
    advice: Suggestion


@dataclass(frozen=True, slots=True)
class Judged:
    """What the judge would have said of a past release, and what it knew."""

    review: Review
    learned: Learned


def rehearsed(known: Known, found: Account) -> list[str]:
    """For people."""
    requests, errors = _volume(found.history)
    pods = {name for block in found.history.blocks for name in block.pods} if found.history.by_pod else set()
    healthy = found.healthy
    share, low, high = healthy.rate
    rows = [_row("nothing wrong", healthy)]
    rows += [_row(f"inject {fault}", one) for fault, one in found.faulty.items()]
    lines = [
        known.heading,
        f"history: {_instant(found.history.since)} to {_instant(found.history.blocks[-1].end)}, {requests:,} requests, "
        f"{_percent(errors / requests)} failed" + (f", {len(pods)} pods" if pods else ""),
        *([] if found.history.by_pod else [OPTIMISTIC]),
        "",
        *columns(["CANARY", "RUNS", "PROMOTED", "HELD", "ROLLED BACK", "AFTER (MEDIAN, P95)", "FAILED BY IT"], rows),
        "",
        f"rolled back wrongly: {healthy.wrong} of {healthy.runs}, {_percent(share)} "
        f"(95 % interval {_percent(low)} to {_percent(high)})" + _reasons(healthy.rolled_back),
    ]
    if found.apart < min(_TOO_FEW, healthy.runs):
        fit = "1 release fits" if found.apart == 1 else f"{found.apart} releases fit"
        lines.append(
            f"only {fit} into this history one after the other: the others overlap, and the interval is wider in truth"
        )
    if healthy.held:
        lines.append(f"held to the end: {sum(healthy.held.values())}{_reasons(healthy.held)}")
    if healthy.to_promote is not None:
        lines.append(f"promoted after {_span(healthy.to_promote)} in the median")
    lines.append(known.not_tried("replayed"))
    lines += [f"warning: {line}" for line in known.warnings(errors / requests)]
    return [*lines, "", *_advice(found.advice, healthy)]


def rehearsal_document(known: Known, found: Account) -> dict[str, Any]:
    """For scripts. Times in seconds, shares between 0 and 1."""
    requests, errors = _volume(found.history)
    return {
        **_subject(known),
        "from": _instant(found.history.since),
        "to": _instant(found.history.blocks[-1].end),
        "requests": requests,
        "errors": errors,
        "podsToldApart": found.history.by_pod,
        "notReplayed": list(known.left_out),
        "warnings": known.warnings(errors / requests),
        "releasesSideBySide": found.apart,
        "healthy": _outcome(found.healthy),
        "injected": [{"fault": str(fault), **_outcome(one)} for fault, one in found.faulty.items()],
        "suggestion": {
            "direction": found.advice.direction,
            "spec": found.advice.spec,
            "checksWithoutTolerance": list(found.advice.beyond),
        },
    }


def past(known: Known, found: Sequence[Judged]) -> list[str]:
    """For people."""
    lines = [known.heading, f"release of {known.canary}; weights are inferred from the split of the requests"]
    for one in found:
        review = one.review
        rows = [
            [
                f"{stay.weight}%",
                _clock(stay.since),
                _span(stay.until - stay.since),
                _bad(*failed(stay.counted)),
                _bad(stay.counted.stable.errors, stay.counted.stable.requests),
                _odds(stay.evidence),
                _verdict(stay),
            ]
            for stay in review.stays
        ]
        head = ["WEIGHT", "FROM", "FOR", known.canary or "", known.stable, "EVIDENCE", "AT ITS END"]
        lines += ["", f"{_instant(review.since)} to {_instant(review.until)}:", *columns(head, rows)]
        if not one.learned.blocks:
            lines.append("nothing could be learned from stable before it: first guesses were used")
        lines.append(_conclusion(review))
    return [*lines, "", known.not_tried("replayed")]


def past_document(known: Known, found: Sequence[Judged]) -> dict[str, Any]:
    """For scripts."""
    return {
        **_subject(known),
        "canary": known.canary,
        "notReplayed": list(known.left_out),
        "releases": [
            {
                "from": _instant(one.review.since),
                "to": _instant(one.review.until),
                "reachedFullWeight": one.review.finished,
                "learnedBlocks": one.learned.blocks,
                "steps": [
                    {
                        "weight": stay.weight,
                        "from": _instant(stay.since),
                        "to": _instant(stay.until),
                        "counted": stay.counted.wire(),
                        "evidence": stay.evidence,
                        "provenAt": None if stay.proven_at is None else _instant(stay.proven_at),
                        "opinion": stay.kind,
                    }
                    for stay in one.review.stays
                ],
                "opinions": [_turn(turn) for turn in one.review.turns],
                "rolledBack": None if one.review.convicted is None else _turn(one.review.convicted),
                "failedRequestsAfterwards": one.review.saved,
            }
            for one in found
        ],
    }


def _conclusion(review: Review) -> str:
    if (turn := review.convicted) is not None:
        return (
            f"would have rolled back at {_clock(turn.at)}, {_span(turn.at - review.since)} after it began, at "
            f"{turn.weight}%: {turn.check} ({_odds(turn.evidence)}, rolls back at {_odds(turn.convicts)}); "
            f"{review.saved:,} requests failed afterwards that stable's rate does not explain"
        )
    alarm = next((turn for turn in review.turns if turn.kind == "alarm"), None)
    if alarm is not None:
        return f"would have gone back to the first step at {_clock(alarm.at)}, for a control: {alarm.check}"
    suspect = next((turn for turn in review.turns if turn.kind == "suspect"), None)
    if suspect is not None:
        return f"would not have rolled back; it would have held from {_clock(suspect.at)}: {suspect.check}"
    return "would have passed" if review.finished else "would not have rolled back"


def _advice(advice: Suggestion, healthy: Outcome) -> list[str]:
    runs, held = healthy.runs, sum(healthy.held.values())
    pasted = views.encoded({"spec": advice.spec}, Output.YAML).splitlines() if advice.spec else []
    match advice.direction:
        case "too few":
            return [f"none of {runs} is rolled back; whether smaller tolerances would do takes --runs {FEWEST} or more"]
        case "keep" if held:
            return [f"none of {runs} is rolled back, but {held} held to the end: no other tolerances are suggested"]
        case "keep":
            return [f"the tolerances suit this history: none of {runs} is rolled back, and smaller ones hold some"]
        case "tighten":
            return [f"the tolerances could be smaller; with these, as many of {runs} are promoted:", *pasted]
        case "loosen":
            return [f"with these tolerances none of {runs} is rolled back in this history:", *pasted]
        case "none":
            causes = ", ".join(advice.beyond)
            lines = [f"no tolerance that was tried ends the false rollbacks by: {causes}"]
            return [*lines, "these help against the others:", *pasted] if pasted else lines


def _subject(known: Known) -> dict[str, Any]:
    return {
        "service": known.service,
        "namespace": known.namespace,
        "stable": known.stable,
        "policy": known.policy_from,
    }


def _row(name: str, one: Outcome) -> list[str]:
    after = "-" if one.to_roll_back is None else ", ".join(map(_span, one.to_roll_back))
    return [
        name,
        f"{one.runs}",
        f"{one.promoted}",
        f"{sum(one.held.values())}",
        f"{one.wrong} ({_percent(one.wrong / one.runs)})",
        after,
        f"{one.failed:,.0f} of {one.hit:,.0f}",
    ]


def _outcome(one: Outcome) -> dict[str, Any]:
    share, low, high = one.rate
    median, worst = one.to_roll_back or (None, None)
    return {
        "runs": one.runs,
        "promoted": one.promoted,
        "held": one.held,
        "rolledBack": one.wrong,
        "rolledBackBy": one.rolled_back,
        "rolledBackShare": share,
        "rolledBackInterval95": [low, high],
        "medianSecondsToPromote": one.to_promote,
        "medianSecondsToRollback": median,
        "p95SecondsToRollback": worst,
        "medianFailedRequests": one.failed,
        "medianCanaryRequests": one.hit,
    }


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "at": _instant(turn.at),
        "weight": turn.weight,
        "opinion": turn.kind,
        "check": turn.check,
        "evidence": turn.evidence,
        "convicts": turn.convicts,
    }


def _verdict(stay: Stay) -> str:
    if stay.kind == "open" and stay.proven_at is not None:
        return f"proven at {_clock(stay.proven_at)}"
    return {
        "guilty": "rolls back",
        "alarm": "goes back to the first step",
        "suspect": "suspects it",
        "proven": "proven",
        "open": "unproven",
    }[stay.kind]


def _volume(history: History) -> tuple[int, int]:
    asked = (block for block in history.blocks if block.start >= history.since)
    cells = [block.groups["stable"] for block in asked if "stable" in block.groups]
    return sum(cell.requests for cell in cells), sum(cell.errors for cell in cells)


def _reasons(counts: Mapping[str, int]) -> str:
    return ": " + ", ".join(f"{name} {count}" for name, count in counts.items()) if counts else ""


def _bad(bad: int, n: int) -> str:
    return f"{bad:,} of {n:,} failed"


def _odds(evidence: float) -> str:
    return f"1 in {odds(evidence)} by chance" if evidence > 1 else "none"


def _percent(share: float) -> str:
    return format_share(float(f"{share:.2g}"))


def _span(seconds: float) -> str:
    return format_duration(timedelta(seconds=round(seconds)))


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%SZ")
