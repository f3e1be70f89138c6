"""Readings from a Prometheus that misbehaves: a reason in time, or the trouble of one check, and never a number."""

import asyncio
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from rollout.core.checks import CustomCheck, OverStable
from rollout.core.judging.gates import MEMORY, SIGNALS, Reading, Readings
from rollout.core.policy import Metrics as MetricsPolicy
from rollout.core.route import Unavailable
from rollout.ports import Subject
from tests.adapters.prometheus.test_faults import NOW, TIMEOUT, Faulty, Handler, asking, serving, until

SUBJECT = Subject(
    "shop", "checkout", "v2", "v1", MetricsPolicy(), (), ("v2", "v1"), ("checkout-v2", "checkout-v1")
)  # fmt: skip
CHECK = CustomCheck(name="mine", query='mine{version="{{version}}"}', max=1.0)
COMPARED = CustomCheck(name="compared", query='mine{version="{{version}}"}', over_stable=OverStable())
OTHER = CustomCheck(name="other", query="vector(7)", max=9.0)


def answer(kind: str, result: object, **more: object) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}, **more}


def vector(*values: object) -> dict[str, Any]:
    return answer("vector", [{"metric": {"n": str(n)}, "value": [1, value]} for n, value in enumerate(values)])


def measured(value: object) -> dict[str, Any]:
    return answer("vector", [{"metric": {"signal": MEMORY, "whose": "canary"}, "value": [1, value]}])


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    with serving() as server:
        server.do = answering(vector("1"))
        yield server


def answering(
    custom: dict[str, Any] | Callable[[Handler], None],
    saturation: dict[str, Any] | Callable[[Handler], None] | None = None,
) -> Callable[[Handler], None]:
    """The custom checks `mine` get the one, the signals the other (nothing, if not said), `vector(7)` its truth."""

    def do(handler: Handler) -> None:
        query = handler.faulty.asked[-1].form["query"][0]
        chosen = vector("7") if query == "vector(7)" else custom
        if "label_replace" in query:
            chosen = vector() if saturation is None else saturation
        if callable(chosen):
            chosen(handler)
        else:
            handler.answer(chosen)

    return do


async def readings(faulty: Faulty, *custom: CustomCheck) -> Readings | Unavailable:
    """The answer; fails if it takes much longer than it may."""
    began = monotonic()
    async with asking(faulty.url) as adapter:
        found = await adapter.readings(SUBJECT, custom, NOW)
    assert monotonic() - began < TIMEOUT.total_seconds() + 1.5
    return found


async def known(faulty: Faulty, *custom: CustomCheck) -> Readings:
    found = await readings(faulty, *custom)
    assert not isinstance(found, Unavailable), found
    return found


ERROR = {"status": "error", "errorType": "bad_data", "error": "parse error"}
EVERYTHING: dict[str, dict[str, Any] | Callable[[Handler], None]] = {
    "warnings": answer("vector", [], warnings=["store 2 of 3 did not answer"]),
    "503 of a proxy": lambda it: it.answer(b"<h1>upstream connect error</h1>\x1b[31m\n", 503),
    "401": lambda it: it.answer(b"", 401),
    "a redirect": lambda it: it.answer(b"", 302, Location="/elsewhere"),
    "no JSON": lambda it: it.answer(b"\x00\xff garbage \n"),
    "a value that is no number": vector("many"),
    "a value that is none": vector(None),
    "a result that is none": answer("vector", 5),
    "a dropped connection": Handler.drop,
}
ONE: dict[str, dict[str, Any] | Callable[[Handler], None]] = {
    "400": lambda it: it.answer(ERROR, 400),
    "422": lambda it: it.answer({**ERROR, "errorType": "execution"}, 422),
    "a timeout of Prometheus": lambda it: it.answer({**ERROR, "errorType": "timeout"}, 503),
    "several series": vector("1", "2"),
    "infinity": vector("+Inf"),
    "a matrix": answer("matrix", []),
    "a string": answer("string", [1, "1"]),
    "a histogram": answer("vector", [{"metric": {}, "histogram": [1, {}]}]),
    "hang": Handler.hang,
    "a body that drips": Handler.drip_the_body,
}


@pytest.mark.parametrize("fault", EVERYTHING)
async def test_an_answer_that_cannot_be_believed_is_a_reason(faulty: Faulty, fault: str) -> None:
    faulty.do = answering(EVERYTHING[fault])
    found = await readings(faulty, OTHER, CHECK)
    assert isinstance(found, Unavailable)
    assert found.message.isprintable()


@pytest.mark.parametrize("fault", [*EVERYTHING, *(set(ONE) - {"several series", "infinity"}), "no tags"])
async def test_signals_that_cannot_be_believed_are_a_reason(faulty: Faulty, fault: str) -> None:
    faulty.do = answering(vector("1"), vector("1") if fault == "no tags" else {**EVERYTHING, **ONE}[fault])
    assert isinstance(await readings(faulty, CHECK), Unavailable)


@pytest.mark.parametrize("fault", ONE)
@pytest.mark.parametrize("check", [CHECK, COMPARED], ids=["alone", "compared"])
async def test_a_question_that_is_not_answered_is_the_trouble_of_its_check(
    faulty: Faulty, fault: str, check: CustomCheck
) -> None:
    faulty.do = answering(ONE[fault])
    found = await known(faulty, check, OTHER)
    mine = found[f"custom {check.name}"]
    assert (mine.canary, mine.stable) == (None, None)
    assert mine.trouble.isprintable()
    assert mine.trouble
    assert found["custom other"] == Reading(7.0)


@pytest.mark.parametrize(
    ("said", "value"),
    [
        (vector("2.5"), 2.5),
        (vector(), None),
        (vector("NaN"), None),
        (answer("scalar", [1, "2.5"]), 2.5),
        (answer("scalar", [1, "NaN"]), None),
        (answer("vector", [{"metric": {}, "value": [1, "2.5"]}], infos=["might not be a counter"]), 2.5),
    ],
)
async def test_one_number_or_none_is_an_answer(faulty: Faulty, said: dict[str, Any], value: float | None) -> None:
    faulty.do = answering(said)
    found = await known(faulty, CHECK, COMPARED)
    assert found["custom mine"] == Reading(value)
    assert found["custom compared"] == Reading(value, value)


@pytest.mark.parametrize(("said", "value"), [("0.5", 0.5), ("NaN", None), ("+Inf", None)])
async def test_a_signal_that_is_no_share_is_not_measured(faulty: Faulty, said: str, value: float | None) -> None:
    faulty.do = answering(vector(), measured(said))
    assert await known(faulty) == {**dict.fromkeys(SIGNALS, Reading(None)), MEMORY: Reading(value)}


async def test_a_blank_that_cannot_be_filled_is_trouble_without_a_question(faulty: Faulty) -> None:
    wrong = CustomCheck(name="wrong", query="mine{version={{version}}}", max=1.0)
    found = await known(faulty, wrong, OTHER)
    assert found["custom wrong"].trouble
    assert found["custom other"] == Reading(7.0)
    assert len(faulty.asked) == 2


async def test_signals_are_one_question_and_a_custom_check_one_for_each_version(faulty: Faulty) -> None:
    await known(faulty, CHECK, COMPARED)
    assert sorted(one.form["query"][0] for one in faulty.asked if "label_replace" not in one.form["query"][0]) == [
        'mine{version="v1"}',
        'mine{version="v2"}',
        'mine{version="v2"}',
    ]
    assert len(faulty.asked) == 4
    assert {float(one.form["time"][0]) for one in faulty.asked} == {NOW.timestamp()}


async def test_many_checks_behind_hanging_ones_are_answered_in_time_too(faulty: Faulty) -> None:
    faulty.do = answering(Handler.hang)
    checks = [CHECK.model_copy(update={"name": f"mine-{number}"}) for number in range(9)]
    found = await known(faulty, *checks)
    assert all(found[f"custom {check.name}"].trouble for check in checks)


async def test_samples_are_answered_while_readings_hang(faulty: Faulty) -> None:
    faulty.do = lambda it: (
        it.answer(answer("matrix", []))
        if it.faulty.asked[-1].form["query"][0].startswith("istio_")
        else Handler.hang(it)
    )
    async with asking(faulty.url) as adapter:
        hanging = asyncio.create_task(adapter.readings(SUBJECT, [CHECK] * 10, NOW))
        await until(lambda: len(faulty.asked) > 0)
        assert not isinstance(await adapter.samples(SUBJECT, NOW, NOW), Unavailable)
        assert not hanging.done()
        assert isinstance(await hanging, Unavailable)
