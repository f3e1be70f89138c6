import re
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal

GOOD = """\
apiVersion: rollout.dev/v1alpha1
kind: ServicePolicy
metadata:
  name: {name}
  namespace: shop
"""
PLACE = re.compile(r"^(.+):(\d+):(\d+): (.+)$")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "checkout.yaml").write_text(GOOD.format(name="checkout"))
    (tmp_path / "deep" / "till.yml").write_text(GOOD.format(name="till"))
    (tmp_path / "notes.txt").write_text("not yaml: [")
    (tmp_path / ".hidden.yaml").write_text("not yaml: [")
    return tmp_path


def test_good_files_are_named_on_stdout(rollout: Terminal, folder: Path) -> None:
    ran = rollout("validate", str(folder / "checkout.yaml"))
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{folder / 'checkout.yaml'}: ok (shop/checkout)\n"


def test_directories_are_searched(rollout: Terminal, folder: Path) -> None:
    ran = rollout("validate", str(folder))
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.out.splitlines()) == 2


def test_every_problem_has_its_place_and_good_files_are_still_ok(rollout: Terminal, folder: Path) -> None:
    bad = folder / "bad.yaml"
    bad.write_text(GOOD.format(name="pay") + "spec:\n  wieght: 1\n  interval: 3\n")
    ran = rollout("validate", str(folder))
    assert ran.code == 2
    places = [match.groups()[:2] for line in ran.err.splitlines() if (match := PLACE.match(line))]
    assert places == [(str(bad), "7"), (str(bad), "8")]
    assert len(ran.out.splitlines()) == 2


def test_two_files_for_one_service_are_a_problem(rollout: Terminal, folder: Path) -> None:
    twice = folder / "twice.yaml"
    twice.write_text("# again\n" + GOOD.format(name="checkout"))
    ran = rollout("validate", str(folder))
    assert ran.code == 2
    assert ran.err.startswith(f"{twice}:5:9: metadata.name: ")
    assert str(folder / "checkout.yaml") in ran.err


def test_one_file_named_twice_is_no_problem(rollout: Terminal, folder: Path) -> None:
    assert rollout("validate", str(folder), str(folder / "checkout.yaml")).code == 0


def test_a_file_that_is_not_there_is_a_problem(rollout: Terminal, folder: Path) -> None:
    ran = rollout("validate", str(folder / "none.yaml"))
    assert ran.code == 2
    assert str(folder / "none.yaml") in ran.err


def test_an_empty_directory_is_a_problem(rollout: Terminal, tmp_path: Path) -> None:
    ran = rollout("validate", str(tmp_path))
    assert ran.code == 2
    assert ran.err.startswith(str(tmp_path))


def test_services_of_several_files_that_wait_for_one_another_are_a_problem(rollout: Terminal, folder: Path) -> None:
    (folder / "checkout.yaml").write_text(GOOD.format(name="checkout") + "spec: {after: [till]}\n")
    assert rollout("validate", str(folder)).code == 0
    (folder / "deep" / "till.yml").write_text(GOOD.format(name="till") + "spec: {after: [checkout]}\n")
    ran = rollout("validate", str(folder))
    assert ran.code == 2
    assert ran.err.startswith(f"{folder / 'checkout.yaml'}:4:9: spec.after: ")
    assert len(ran.err.splitlines()) == 1


def test_services_of_the_same_names_in_other_namespaces_wait_for_nobody_here(rollout: Terminal, folder: Path) -> None:
    (folder / "checkout.yaml").write_text(GOOD.format(name="checkout") + "spec: {after: [till]}\n")
    elsewhere = GOOD.format(name="till").replace("namespace: shop", "namespace: market")
    (folder / "deep" / "till.yml").write_text(elsewhere + "spec: {after: [checkout]}\n")
    assert rollout("validate", str(folder)).code == 0
