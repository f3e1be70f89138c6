"""Knobs as people write them."""

from itertools import pairwise

import pytest

from rollout.sandbox import knobs
from rollout.sandbox.knobs import KnobError, Knobs
from rollout.sandbox.service import strikes


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("100%", 1.0), ("0", 0.0), ("2.5%", 0.025)])
def test_a_share_may_be_percent_or_a_fraction(text: str, share: float) -> None:
    assert knobs.parse_share(text) == share


@pytest.mark.parametrize("text", ["", "5", "101%", "-1%", "five", "5 %%", "1e-2"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(KnobError):
        knobs.parse_share(text)


@pytest.mark.parametrize(("text", "seconds"), [("200ms", 0.2), ("+200ms", 0.2), ("0.2s", 0.2), ("0ms", 0.0)])
def test_a_latency_has_a_unit(text: str, seconds: float) -> None:
    assert knobs.parse_latency(text) == seconds


@pytest.mark.parametrize("text", ["200", "-200ms", "ms", "1m"])
def test_what_is_no_latency_is_refused(text: str) -> None:
    with pytest.raises(KnobError):
        knobs.parse_latency(text)


def test_annotations_say_what_they_were_made_of() -> None:
    made = knobs.annotations(errors="5%", slow=0.2, latency="+200ms", ready=False)
    assert knobs.from_annotations(made) == Knobs(errors=0.05, slow=0.2, latency=0.2, ready=False)


def test_without_annotations_a_version_is_healthy() -> None:
    assert knobs.from_annotations({"other": "x"}) == Knobs(errors=0.0, slow=0.1, latency=0.0, ready=True)


def test_a_wrong_knob_never_reaches_the_cluster() -> None:
    with pytest.raises(KnobError):
        knobs.annotations(ready="maybe")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.07, 0.1, 0.29, 0.33, 0.5, 1.0])
def test_a_share_is_met_exactly_and_evenly(share: float) -> None:
    hits = [index for index in range(10_000) if strikes(index, share)]
    assert len(hits) == round(share * 10_000)
    gaps = {after - before for before, after in pairwise(hits)}
    assert len(gaps) <= 2


def test_five_percent_is_every_twentieth() -> None:
    assert [index for index in range(100) if strikes(index, 0.05)] == [19, 39, 59, 79, 99]
