"""The pictures of docs/judge.md are what their script draws with the judge as it is now: `make figures` renews them."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import figures
from rollout.core.checks import FailFast

_NUMBER = re.compile(r"(?<![\w#])-?\d+\.\d+")
NAMES = sorted(figures.FIGURES)
DOCUMENT = figures.FOLDER.parent / "judge.md"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("figures")
    figures.write(folder)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_picture_is_what_the_script_draws_again(drawn: Path, name: str) -> None:
    now, committed = ((folder / f"{name}.svg").read_text(encoding="utf-8") for folder in (drawn, figures.FOLDER))
    assert _NUMBER.sub("", now) == _NUMBER.sub("", committed), "make figures"
    # Another processor may round the last digit of a logarithm otherwise.
    drawn_at, stood_at = ([float(number) for number in _NUMBER.findall(text)] for text in (now, committed))
    assert drawn_at == pytest.approx(stood_at, abs=0.01), "make figures"


def test_there_are_no_other_pictures_than_those_drawn() -> None:
    assert sorted(path.stem for path in figures.FOLDER.iterdir()) == NAMES


def test_every_picture_is_shown_in_the_document_and_every_one_shown_exists() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    shown = [part.split(".svg)")[0] for part in text.split("](judge/")[1:]]
    assert sorted(shown) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_brings_its_own_background_and_no_date(drawn: Path, name: str) -> None:
    root = ET.fromstring((drawn / f"{name}.svg").read_text(encoding="utf-8"))
    svg, dublin_core = "{http://www.w3.org/2000/svg}", "{http://purl.org/dc/elements/1.1/}"
    background = root.find(f".//{svg}g[@id='patch_1']/{svg}path")
    assert background is not None and "fill: #ffffff" in background.attrib["style"]
    assert root.find(f".//{dublin_core}date") is None


def test_the_price_of_a_hard_limit_grows_with_impatience() -> None:
    patient, hasty = (
        figures.price(FailFast.model_validate(limit), runs=8) for limit in ({}, {"max": "20%", "requests": 10})
    )
    assert patient["chance"]["5.0%"] < 1e-40 < hasty["chance"]["5.0%"]
    assert all(patient["bursts"][key] <= hasty["bursts"][key] for key in patient["bursts"])
    assert sum(hasty["bursts"].values()) > sum(patient["bursts"].values())
    assert all(patient["outage"][key] >= hasty["outage"][key] for key in patient["outage"])
