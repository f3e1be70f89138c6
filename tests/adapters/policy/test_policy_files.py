"""A directory of policies, looked at again and again while people change it."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rollout.adapters.policy_files import Changes, PolicyFiles
from rollout.core.policy import PolicySpec
from rollout.core.quantities import format_duration
from rollout.core.route import Problem

Write = Callable[[str, str], Path]


def policy(name: str, interval: str = "15s", namespace: str = "shop") -> str:
    return (
        "apiVersion: rollout.dev/v1alpha1\nkind: ServicePolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{interval: {interval}}}\n"
    )


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return to


def interval(files: PolicyFiles, service: str, namespace: str = "shop") -> str | None:
    """The interval of the policy in force; None where there is none."""
    found = asyncio.run(files.find(namespace, service))
    return format_duration(found.interval) if isinstance(found, PolicySpec) else None


def names(changes: Changes) -> tuple[list[str], list[str], list[str]]:
    """File names that were loaded, that became invalid, that went."""
    return (
        [Path(one.file).name for one in changes.loaded],
        [Path(one.file).name for one in changes.invalid],
        [Path(one).name for one in changes.removed],
    )


def test_every_policy_of_every_file_is_found_by_namespace_and_service(tmp_path: Path, write: Write) -> None:
    write("b.yaml", policy("checkout", "10s") + "---\n" + policy("cart", "20s"))
    write("a.yml", policy("checkout", "30s", "staging"))
    files = PolicyFiles(tmp_path)
    changes = files.load()
    assert names(changes) == (["a.yml", "b.yaml"], [], [])
    assert changes.loaded[1].services == (("shop", "checkout"), ("shop", "cart"))
    assert interval(files, "checkout") == "10s"
    assert interval(files, "cart") == "20s"
    assert interval(files, "checkout", "staging") == "30s"
    assert (files.count, files.invalid_count) == (3, 0)


def test_a_policy_in_force_has_a_place_to_point_at(tmp_path: Path, write: Write) -> None:
    path = write("a.yaml", policy("cart") + "---\n" + policy("checkout"))
    files = PolicyFiles(tmp_path)
    files.load()
    assert files.place_of("shop", "checkout") == f"{path}:8:12"
    assert files.place_of("shop", "nothing") == ""


def test_a_service_without_a_policy_gets_a_reason(tmp_path: Path, write: Write) -> None:
    write("a.yaml", "x: 1\n")
    files = PolicyFiles(tmp_path)
    files.load()
    found = asyncio.run(files.find("shop", "checkout"))
    assert isinstance(found, Problem)
    assert "shop/checkout" in found.message
    assert "a.yaml:1:1" in found.message


def test_other_files_hidden_files_and_folders_are_not_read(tmp_path: Path, write: Write) -> None:
    write("README.md", "x")
    write(".hidden.yaml", policy("hidden"))
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "below").mkdir()
    write("below/deep.yaml", policy("deep"))
    files = PolicyFiles(tmp_path)
    assert not files.load()
    assert files.count == 0


def test_looking_again_at_unchanged_files_reports_nothing(tmp_path: Path, write: Write) -> None:
    write("good.yaml", policy("checkout"))
    write("bad.yaml", "x: 1\n")
    files = PolicyFiles(tmp_path)
    assert files.load()
    for _ in range(3):
        assert not files.load()
    assert (files.count, files.invalid_count) == (1, 1)


def test_a_changed_file_is_in_force_at_the_next_look(tmp_path: Path, write: Write) -> None:
    write("a.yaml", policy("checkout", "10s"))
    files = PolicyFiles(tmp_path)
    files.load()
    write("a.yaml", policy("checkout", "20s"))
    assert names(files.load()) == (["a.yaml"], [], [])
    assert interval(files, "checkout") == "20s"


def test_a_change_that_leaves_size_and_time_alike_is_seen(tmp_path: Path, write: Write) -> None:
    path = write("a.yaml", policy("checkout", "10s"))
    files = PolicyFiles(tmp_path)
    files.load()
    stat = path.stat()
    write("a.yaml", policy("checkout", "20s"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    files.load()
    assert interval(files, "checkout") == "20s"


def test_a_file_touched_without_a_change_reports_nothing(tmp_path: Path, write: Write) -> None:
    path = write("a.yaml", policy("checkout"))
    files = PolicyFiles(tmp_path)
    files.load()
    os.utime(path, ns=(10**18, 10**18))
    assert not files.load()


def test_a_file_that_became_bad_keeps_its_last_good_version_and_is_reported_once(tmp_path: Path, write: Write) -> None:
    write("a.yaml", policy("checkout", "10s"))
    files = PolicyFiles(tmp_path)
    files.load()
    write("a.yaml", policy("checkout", "10s")[:-9])
    changes = files.load()
    assert names(changes) == ([], ["a.yaml"], [])
    assert str(tmp_path / "a.yaml") in changes.invalid[0].error
    assert interval(files, "checkout") == "10s"
    assert not files.load()
    assert (files.count, files.invalid_count) == (1, 1)
    write("a.yaml", policy("checkout", "20s"))
    assert names(files.load()) == (["a.yaml"], [], [])
    assert interval(files, "checkout") == "20s"
    assert files.invalid_count == 0


def test_a_file_that_became_good_again_as_it_was_is_reported_as_loaded(tmp_path: Path, write: Write) -> None:
    write("a.yaml", policy("checkout"))
    files = PolicyFiles(tmp_path)
    files.load()
    write("a.yaml", "x")
    files.load()
    write("a.yaml", policy("checkout"))
    assert names(files.load()) == (["a.yaml"], [], [])


def test_a_file_that_was_never_good_leaves_the_others_in_force(tmp_path: Path, write: Write) -> None:
    write("a.yaml", "x: 1\n")
    write("b.yaml", policy("cart"))
    files = PolicyFiles(tmp_path)
    assert names(files.load()) == (["b.yaml"], ["a.yaml"], [])
    assert interval(files, "cart") == "15s"


def test_a_removed_file_takes_its_policies_with_it(tmp_path: Path, write: Write) -> None:
    path = write("a.yaml", policy("checkout"))
    files = PolicyFiles(tmp_path)
    files.load()
    path.unlink()
    assert names(files.load()) == ([], [], ["a.yaml"])
    assert interval(files, "checkout") is None
    assert files.count == 0


def test_two_files_that_name_one_service_are_both_refused_with_both_places(tmp_path: Path, write: Write) -> None:
    write("a.yaml", policy("checkout", "10s"))
    write("b.yaml", policy("cart") + "---\n" + policy("checkout", "20s"))
    files = PolicyFiles(tmp_path)
    changes = files.load()
    assert names(changes) == ([], ["a.yaml", "b.yaml"], [])
    errors = [one.error for one in changes.invalid]
    assert errors[0].startswith(f"{tmp_path / 'a.yaml'}:3:12: metadata.name:")
    assert f"{tmp_path / 'b.yaml'}:8:12" in errors[0]
    assert errors[1].startswith(f"{tmp_path / 'b.yaml'}:8:12: metadata.name:")
    assert f"{tmp_path / 'a.yaml'}:3:12" in errors[1]
    assert (interval(files, "checkout"), interval(files, "cart")) == (None, None)


def test_a_second_file_for_a_service_leaves_the_first_in_force_until_one_of_them_goes(
    tmp_path: Path, write: Write
) -> None:
    write("a.yaml", policy("checkout", "10s"))
    files = PolicyFiles(tmp_path)
    files.load()
    second = write("b.yaml", policy("checkout", "20s"))
    assert names(files.load()) == ([], ["a.yaml", "b.yaml"], [])
    assert interval(files, "checkout") == "10s"
    write("a.yaml", policy("checkout", "30s"))
    files.load()
    assert interval(files, "checkout") == "10s"
    second.unlink()
    assert names(files.load()) == (["a.yaml"], [], ["b.yaml"])
    assert interval(files, "checkout") == "30s"


def test_a_service_may_move_to_another_file_at_once(tmp_path: Path, write: Write) -> None:
    write("a.yaml", policy("checkout", "10s"))
    write("b.yaml", policy("cart"))
    files = PolicyFiles(tmp_path)
    files.load()
    write("a.yaml", policy("cart"))
    write("b.yaml", policy("checkout", "20s"))
    assert names(files.load()) == (["a.yaml", "b.yaml"], [], [])
    assert interval(files, "checkout") == "20s"


def test_a_service_of_a_bad_file_cannot_be_taken_by_another(tmp_path: Path, write: Write) -> None:
    write("a.yaml", policy("checkout", "10s"))
    files = PolicyFiles(tmp_path)
    files.load()
    write("a.yaml", "half")
    write("b.yaml", policy("checkout", "20s"))
    assert names(files.load()) == ([], ["a.yaml", "b.yaml"], [])
    assert interval(files, "checkout") == "10s"


def test_refusals_spread_to_whoever_names_what_a_refused_file_has_in_force(tmp_path: Path, write: Write) -> None:
    write("a.yaml", policy("checkout", "10s"))
    files = PolicyFiles(tmp_path)
    files.load()
    write("a.yaml", policy("cart"))
    write("b.yaml", policy("cart"))
    write("c.yaml", policy("checkout", "20s"))
    assert names(files.load()) == ([], ["a.yaml", "b.yaml", "c.yaml"], [])
    assert interval(files, "checkout") == "10s"
    assert interval(files, "cart") is None


def test_a_swapped_configmap_is_read_whole(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()

    def publish(version: str, text: str) -> None:
        """As the kubelet does it (pkg/volume/util/atomic_writer.go): a new folder, then one rename of `..data`."""
        folder = mount / f"..{version}"
        folder.mkdir()
        (folder / "checkout.yaml").write_text(text, encoding="utf-8")
        (mount / "..data_tmp").symlink_to(folder.name)
        (mount / "..data_tmp").rename(mount / "..data")
        if not (mount / "checkout.yaml").is_symlink():
            (mount / "checkout.yaml").symlink_to("..data/checkout.yaml")

    publish("1", policy("checkout", "10s"))
    files = PolicyFiles(mount)
    assert names(files.load()) == (["checkout.yaml"], [], [])
    files.load()
    publish("2", policy("checkout", "20s"))
    assert names(files.load()) == (["checkout.yaml"], [], [])
    assert interval(files, "checkout") == "20s"
    assert files.count == 1


def test_a_directory_out_of_reach_leaves_everything_in_force_and_is_reported_once(tmp_path: Path) -> None:
    directory = tmp_path / "policies"
    directory.mkdir()
    (directory / "a.yaml").write_text(policy("checkout"), encoding="utf-8")
    files = PolicyFiles(directory)
    files.load()
    directory.rename(tmp_path / "away")
    assert names(files.load()) == ([], ["policies"], [])
    assert not files.load()
    assert interval(files, "checkout") == "15s"
    assert files.invalid_count == 1
    (tmp_path / "away").rename(directory)
    assert not files.load()
    assert files.invalid_count == 0


def test_a_directory_that_was_never_there_is_a_reason_not_a_crash(tmp_path: Path) -> None:
    files = PolicyFiles(tmp_path / "nowhere")
    assert files.load().invalid
    found = asyncio.run(files.find("shop", "checkout"))
    assert isinstance(found, Problem)
    assert "nowhere" in found.message


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a regular file that no one can read is Linux' own")
def test_a_file_that_cannot_be_read_keeps_its_last_good_version(tmp_path: Path, write: Write) -> None:
    path = write("a.yaml", policy("checkout"))
    files = PolicyFiles(tmp_path)
    files.load()
    path.unlink()
    path.symlink_to("/proc/self/mem")
    assert names(files.load()) == ([], ["a.yaml"], [])
    assert not files.load()
    assert interval(files, "checkout") == "15s"
    path.unlink()
    write("a.yaml", policy("checkout"))
    assert names(files.load()) == (["a.yaml"], [], [])


def test_a_link_that_leads_nowhere_is_a_file_that_is_gone(tmp_path: Path, write: Write) -> None:
    path = write("a.yaml", policy("checkout"))
    files = PolicyFiles(tmp_path)
    files.load()
    path.unlink()
    path.symlink_to("nowhere.yaml")
    assert names(files.load()) == ([], [], ["a.yaml"])


def test_a_file_too_large_is_refused_without_reading_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with path.open("wb") as stream:
        stream.truncate(1 << 33)
    files = PolicyFiles(tmp_path)
    assert names(files.load()) == ([], ["a.yaml"], [])
