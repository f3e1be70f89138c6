"""Prometheus: raw samples and readings, or a sentence that says why there are none. Never a number that might be wrong.

Here are batching, deadlines and the reading of answers. The way there and back is in prometheus_http.py, the words of
the queries in promql.py and promql_gates.py; what samples add up to is `core/counts.py`'s business.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic

from rollout.adapters import promql, promql_gates
from rollout.adapters.prometheus_http import Answer, Doubt, PrometheusApi, Refusal, TooMuch, line
from rollout.core.checks import CustomCheck
from rollout.core.counts import Group, Instance, Points, Samples, Series
from rollout.core.judging.gates import SIGNALS, Reading, Readings, custom_name
from rollout.core.route import Unavailable
from rollout.ports import Subject

LOOKBACK = timedelta(seconds=150)
"""How far before `since` samples are read: two scrapes of a minute, one of them missed. A counter's value at `since` is
its last sample before; without one it cannot be told from a counter that was just born."""
_GATHER = 0.01
"""Seconds that a question waits for others to share its query."""
_MOST_SUBJECTS = 50
"""Services in one query; their names make a regular expression that every label value is held against."""
_AT_ONCE = 3
"""Readings under way at once: each takes one of the few threads of this process."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """One caller's question. Times in Unix seconds."""

    subject: Subject
    since: float
    now: float
    answer: asyncio.Future[Samples | Unavailable]


@dataclass(slots=True)
class _Found:
    """What the batch's answer holds for one ask."""

    series: list[Series] = field(default_factory=list)
    born: set[Instance] = field(default_factory=set)
    """Targets of series without a sample at or before `since`."""
    doubt: str = ""


class PrometheusMetrics:
    """`ports.Metrics` on a real Prometheus, or what speaks its HTTP API (Thanos, Mimir).

    Questions that arrive together, or while an answer is under way, share one pair of queries: as many as all active
    releases ask at once, yet no question ever sees older data than it asked for, as it would from a cache.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: timedelta = timedelta(seconds=3),
        headers: Mapping[str, str] | None = None,
        bearer_file: Path | None = None,
        ca_file: Path | None = None,
        lookback: timedelta = LOOKBACK,
        cluster_domain: str = "cluster.local",
        matchers: Sequence[str] = (),
        most_bytes: int = 32 << 20,
    ) -> None:
        """`timeout` is for the whole question, up to the last byte; `most_bytes` for each answer.

        `matchers` (PromQL: `cluster="eu-1"`) go into every selector of ours, but not into custom checks.
        """
        self._seconds = timeout.total_seconds()
        self._lookback = lookback.total_seconds()
        self._domain = cluster_domain
        self._matchers = tuple(matchers)
        self._api = PrometheusApi(
            url,
            seconds=self._seconds,
            headers=headers or {},
            bearer_file=bearer_file,
            ca_file=ca_file,
            most_bytes=most_bytes,
        )
        self._reading = asyncio.Semaphore(_AT_ONCE)
        self._waiting: list[_Ask] = []
        self._flight: asyncio.Task[None] | None = None

    async def samples(self, subject: Subject, since: datetime, now: datetime) -> Samples | Unavailable:
        """Everything counted about the subject from `lookback` before `since` until `now`. Never raises."""
        answer: asyncio.Future[Samples | Unavailable] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Ask(subject, since.timestamp(), now.timestamp(), answer))
        if self._flight is None or self._flight.done():
            self._flight = asyncio.create_task(self._fly())
        try:
            # A little beyond the deadline of the query itself, whose message says more.
            async with asyncio.timeout(self._seconds + 0.5):
                return await answer
        except TimeoutError:
            return self._unavailable(f"did not answer within {self._seconds:g} s")

    async def readings(self, subject: Subject, custom: Sequence[CustomCheck], now: datetime) -> Readings | Unavailable:
        """One query for all signals, and one for each custom check and version that it compares. Never raises.

        A custom check that Prometheus refuses, or does not answer in time, is that check's trouble and nobody else's.
        """
        at, deadline = now.timestamp(), monotonic() + self._seconds
        questions = [partial(self._saturation, subject), *(partial(self._custom, subject, check) for check in custom)]
        try:
            # A little beyond the deadline of the queries themselves, whose message says more.
            async with asyncio.timeout(self._seconds + 0.5):
                parts = await asyncio.gather(*(self._in_turn(question, at, deadline) for question in questions))
        except TimeoutError:
            return self._unavailable(f"did not answer within {self._seconds:g} s")
        except Doubt as doubt:
            return self._unavailable(str(doubt))
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever happened; the port never raises
            return self._unavailable(f"answered what we cannot read: {line(repr(error))}")
        return {name: reading for part in parts for name, reading in part.items()}

    async def close(self) -> None:
        """Answer whoever still waits, and close the connections."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.gather(self._flight, return_exceptions=True)
        for ask in self._waiting:
            _give(ask, self._unavailable("is no longer asked: we are shutting down"))
        self._waiting.clear()
        self._api.close()

    async def _fly(self) -> None:
        """Answer all who wait, batch by batch; whoever asks meanwhile is in a later batch."""
        await asyncio.sleep(_GATHER)
        while self._waiting:
            asks, self._waiting = self._waiting, []
            try:
                for batch in _batches(asks, self._lookback):
                    live = [ask for ask in batch if not ask.answer.done()]
                    if live:
                        await self._answer(live)
            finally:
                for ask in asks:
                    _give(ask, self._unavailable("is no longer asked: we are shutting down"))

    async def _answer(self, batch: Sequence[_Ask]) -> None:
        answers: Sequence[Samples | Unavailable]
        try:
            async with asyncio.timeout(self._seconds + 0.5):
                answers = await asyncio.to_thread(self._ask, batch, monotonic() + self._seconds)
        except TimeoutError:
            answers = [self._unavailable(f"did not answer within {self._seconds:g} s")] * len(batch)
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever happened; the port never raises
            answers = [self._unavailable(f"answered what we cannot read: {line(repr(error))}")] * len(batch)
        for ask, answer in zip(batch, answers, strict=True):
            _give(ask, answer)

    def _ask(self, batch: Sequence[_Ask], deadline: float) -> list[Samples | Unavailable]:
        """Runs in a thread."""
        try:
            return self._read(batch, deadline)
        except TooMuch as doubt:
            if len(batch) == 1:
                return [self._unavailable(str(doubt))]
            half = len(batch) // 2
            return [*self._ask(batch[:half], deadline), *self._ask(batch[half:], deadline)]
        except Doubt as doubt:
            return [self._unavailable(str(doubt))] * len(batch)

    def _read(self, batch: Sequence[_Ask], deadline: float) -> list[Samples | Unavailable]:
        subjects = [ask.subject for ask in batch]
        # A service has one release at a time, as a rule; but nothing here depends on that.
        about: dict[tuple[str, str], list[tuple[_Ask, _Found]]] = {}
        found = [_Found() for _ in batch]
        for ask, mine in zip(batch, found, strict=True):
            for place in promql.places(ask.subject):
                about.setdefault(place, []).append((ask, mine))
        for selector in (
            promql.requests(subjects, self._domain, self._matchers),
            promql.durations(subjects, self._domain, self._matchers),
        ):
            for labels, points in self._matrix(selector, batch, deadline):
                destination = promql.destination(labels, self._domain) or ("", "")
                for ask, mine in about.get(destination, ()):
                    group = promql.group_of(labels, ask.subject, destination[1])
                    self._take(ask, mine, group, labels, points)
        born = set[Instance]().union(*(mine.born for mine in found))
        ups: dict[Instance, Points] = {}
        if born:
            for labels, points in self._matrix(promql.ups(born, self._matchers), batch, deadline):
                ups[promql.instance_of(labels)] = points
        return [self._samples(ask, mine, ups) for ask, mine in zip(batch, found, strict=True)]

    def _take(self, ask: _Ask, found: _Found, group: Group, labels: Mapping[str, str], points: Points) -> None:
        """Keep a series of this subject, cut to its own window, so that no answer depends on who else asked."""
        inside = tuple(point for point in points if ask.since - self._lookback <= point[0] <= ask.now)
        if not inside:
            return
        versioned = group in {"canary", "stable"}
        le = float(labels["le"]) if "le" in labels else None
        if le is not None and not (versioned and (math.isinf(le) or le in ask.subject.bounds_ms)):
            return
        if not all(math.isfinite(value) for _, value in inside):
            found.doubt = "holds a counter that is not a number (NaN or infinite)"
        if versioned and "response_code" not in labels:
            found.doubt = "holds requests without response_code: a Telemetry override removes the label we judge by"
        instance = promql.instance_of(labels)
        if inside[0][0] > ask.since:
            found.born.add(instance)
        code, flags = labels.get("response_code", ""), labels.get("response_flags", "-")
        grpc = labels.get("grpc_response_status", "")
        found.series.append(Series(group, instance, inside, code=code, grpc=grpc, flags=flags, le=le))

    def _samples(self, ask: _Ask, found: _Found, ups: Mapping[Instance, Points]) -> Samples | Unavailable:
        if found.doubt:
            return self._unavailable(found.doubt)
        newest = max((series.points[-1][0] for series in found.series), default=None)
        window = math.ceil(max(0.0, ask.now - ask.since) + self._lookback)
        return Samples(
            series=tuple(found.series),
            ups={instance: ups[instance] for instance in sorted(found.born & ups.keys())},
            newest=None if newest is None else datetime.fromtimestamp(newest, UTC),
            query=f"{promql.everything(ask.subject, self._domain, self._matchers)}[{window}s] @ {ask.now:.3f}",
        )

    def _matrix(
        self, selector: str, batch: Sequence[_Ask], deadline: float
    ) -> Iterator[tuple[Mapping[str, str], Points]]:
        end = max(ask.now for ask in batch)
        start = min(min(ask.since, ask.now) for ask in batch) - self._lookback
        query = f"{selector}[{math.ceil((end - start) * 1000) + 1}ms]"
        answer = self._api.query(query, end, deadline)
        if answer.kind != "matrix":
            raise Doubt(f"answered with a {answer.kind}, not a matrix")
        for one in answer.result:
            points = tuple((float(when), float(value)) for when, value in one.get("values", ()))
            yield one["metric"], points

    async def _in_turn(
        self, question: Callable[[float, float], dict[str, Reading]], at: float, deadline: float
    ) -> dict[str, Reading]:
        async with self._reading:
            return await asyncio.to_thread(question, at, deadline)

    def _saturation(self, subject: Subject, at: float, deadline: float) -> dict[str, Reading]:
        """Runs in a thread. Raises Doubt."""
        measured: dict[tuple[str, str], float | None] = {}
        query = promql_gates.saturation(subject, self._domain, self._matchers)
        if query:
            answer = self._api.query(query, at, deadline)
            if answer.kind != "vector":
                raise Doubt(f"answered with a {answer.kind}, not a vector")
            for one in answer.result:
                value = float(one["value"][1])
                tags = one["metric"][promql_gates.SIGNAL], one["metric"][promql_gates.WHOSE]
                # 0/0, where nothing happened, is no share at all.
                measured[tags] = value if math.isfinite(value) else None
        canary, stable = promql_gates.CANARY, promql_gates.STABLE
        return {name: Reading(measured.get((name, canary)), measured.get((name, stable))) for name in SIGNALS}

    def _custom(self, subject: Subject, check: CustomCheck, at: float, deadline: float) -> dict[str, Reading]:
        """Runs in a thread. Raises Doubt."""

        def value(which: int) -> float | None:
            query = promql_gates.custom(check.query, subject, subject.versions[which], subject.workloads[which])
            return _number(self._api.query(query, at, deadline))

        try:
            reading = Reading(value(0), None if check.over_stable is None else value(1))
        except promql_gates.BadQueryError as error:
            reading = Reading(None, trouble=f"query: {error}")
        except Refusal as refusal:
            reading = Reading(None, trouble=f"{self._api.name} {refusal}")
        return {custom_name(check): reading}

    def _unavailable(self, reason: str) -> Unavailable:
        return Unavailable(f"{self._api.name} {reason}")


def _number(answer: Answer) -> float | None:
    """The one number of an answer; None for none, and for NaN. Raises Refusal where there are several, or another."""
    kind, result = answer
    if kind == "vector":
        if not result:
            return None
        if len(result) > 1:
            raise Refusal(f"answered with {len(result)} series, not one number")
        if "value" not in result[0]:
            raise Refusal("answered with a histogram, not one number")
        value = float(result[0]["value"][1])
    elif kind == "scalar":
        value = float(result[1])
    else:
        raise Refusal(f"answered with a {kind}, not one number")
    if math.isinf(value):
        raise Refusal("answered with infinity: a division by zero?")
    return None if math.isnan(value) else value


def _batches(asks: Sequence[_Ask], lookback: float) -> Iterator[Sequence[_Ask]]:
    """Asks that fit into one query: same reporters, windows within a factor of two, not too many."""
    alike: dict[tuple[tuple[str, ...], int], list[_Ask]] = {}
    for ask in asks:
        window = max(1.0, ask.now - ask.since + lookback)
        alike.setdefault((ask.subject.policy.reporters, int(math.log2(window))), []).append(ask)
    for group in alike.values():
        for first in range(0, len(group), _MOST_SUBJECTS):
            yield group[first : first + _MOST_SUBJECTS]


def _give(ask: _Ask, answer: Samples | Unavailable) -> None:
    if not ask.answer.done():
        ask.answer.set_result(answer)
