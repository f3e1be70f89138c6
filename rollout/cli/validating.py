"""`rollout validate`: every problem of files of policies and settings, as `file:line:col: path: message`."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rollout.cli.connecting import Assembly
from rollout.cli.exits import ExitCode
from rollout.cli.terminal import remark, say
from rollout.core.dependencies import circles

_SUFFIXES = frozenset({".yaml", ".yml"})


def validate(assembly: Assembly, paths: Sequence[Path]) -> ExitCode:
    """Read what the controller would read; `ok` lines on stdout, problems on stderr."""
    problems: list[str] = []
    first: dict[tuple[str, str], Path] = {}
    after: dict[str, dict[str, tuple[str, ...]]] = {}
    for path in paths:
        files = list(_files(path))
        if not files:
            problems.append(f"{path}:1:1: no file here ends in .yaml or .yml")
        for file in files:
            policies, found = assembly.read_policies([file])
            names = [(policy.metadata.namespace, policy.metadata.name) for _, policy in policies]
            for name in names:
                # The same file named twice is no contradiction; the same service in it twice is.
                other = first.setdefault(name, file)
                if names.count(name) > 1 or not file.samefile(other):
                    where = f"{file}:{_place_of(file, name[1])}: metadata.name"
                    found = (*found, f"{where}: {name[0]}/{name[1]} has a policy in {other} already")
            for _, policy in policies:
                after.setdefault(policy.metadata.namespace, {})[policy.metadata.name] = policy.spec.after
            problems.extend(found)
            if not found:
                said = ", ".join(f"{namespace}/{service}" for namespace, service in names)
                say(f"{file}: ok ({said or 'settings'})")
    problems.extend(_circles(after, first))
    for problem in dict.fromkeys(problems):
        remark(problem)
    return ExitCode.USAGE if problems else ExitCode.OK


def _circles(after: dict[str, dict[str, tuple[str, ...]]], files: dict[tuple[str, str], Path]) -> Iterator[str]:
    """One circle of services that wait for one another for each namespace that has any, where its first is named."""
    for namespace, policies in sorted(after.items()):
        if circle := circles(policies):
            file = files[namespace, circle[0]]
            waits = " after ".join(circle)
            yield f"{file}:{_place_of(file, circle[0])}: spec.after: in {namespace} each would wait for ever: {waits}"


def _files(path: Path) -> Iterator[Path]:
    """The file itself, or the policy files below a directory, hidden ones left out (ConfigMaps keep copies there)."""
    if not path.is_dir():
        yield path
        return
    for found in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in found.relative_to(path).parts)
        if found.suffix in _SUFFIXES and not hidden and found.is_file():
            yield found


def _place_of(file: Path, service: str) -> str:
    """`line:col` of the last place that spells this name; the reader of the file knows only whole policies."""
    pattern = re.compile(rf"\bname:\s*[\"']?({re.escape(service)})(?![-\w.])")
    place = "1:1"
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if (match := pattern.search(line)) is not None:
            place = f"{number}:{match.start(1) + 1}"
    return place
