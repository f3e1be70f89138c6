"""A directory of policy files, read again and again: the `Policies` port.

Made for a mounted ConfigMap (files are links into `..data`, which is swapped at once) and for a plain directory that
people edit. A file that became bad keeps its last good version in force. What a file says is `policy_yaml.py`'s
business; who is told of changes is the caller's.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import stat_result
from pathlib import Path

from rollout.adapters.policy_yaml import Located, PolicyError, PolicyErrors, read_located
from rollout.adapters.strict_yaml import MAX_BYTES
from rollout.core.policy import PolicySpec
from rollout.core.route import Problem

Key = tuple[str, str]
"""(namespace, name) of a service."""
_Signature = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file whose policies came into force."""

    file: str
    services: tuple[Key, ...]
    """In the order of the file."""


@dataclass(frozen=True, slots=True)
class InvalidFile:
    """A file that is bad; its last good version, if there was one, stays in force."""

    file: str
    errors: tuple[PolicyError, ...]

    @property
    def error(self) -> str:
        """All problems, one per line."""
        return "\n".join(str(error) for error in self.errors)


@dataclass(frozen=True, slots=True)
class Changes:
    """What one `load` found that the one before had not."""

    loaded: tuple[LoadedFile, ...] = ()
    invalid: tuple[InvalidFile, ...] = ()
    removed: tuple[str, ...] = ()
    """Files that are gone, and their policies with them."""

    def __bool__(self) -> bool:
        return bool(self.loaded or self.invalid or self.removed)


@dataclass(slots=True)
class _File:
    """What is known of one file."""

    path: Path
    signature: _Signature | None = None
    settled: bool = False
    """The signature was the same at the look before: the content cannot have changed under one clock tick."""
    digest: bytes = b""
    parsed: tuple[Located, ...] = ()
    errors: tuple[PolicyError, ...] = ()
    """Why `parsed` is not the file's content."""
    good: tuple[Located, ...] = ()
    """What is in force."""
    told: tuple[object, ...] = ()
    """The outcome that was last reported."""
    clashes: list[PolicyError] = field(default_factory=list)

    def claims(self) -> Iterator[tuple[Key, Located]]:
        """The services it speaks for: those it names, and while it is refused those it has in force too."""
        named = {_key(one): one for one in self.parsed}
        if self.errors or self.clashes:
            named = {_key(one): one for one in self.good} | named
        return iter(named.items())


class PolicyFiles:
    """The policies of a directory: `*.yaml` and `*.yml`, not hidden, not in folders below.

    `load` blocks on the disk and may run in a thread; `find` never waits and sees one whole load or the next.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, _File] = {}
        self._outage: str | None = None
        self._policies: Mapping[Key, PolicySpec] = {}
        self._places: Mapping[Key, str] = {}
        self._invalid: tuple[InvalidFile, ...] = ()

    @property
    def invalid(self) -> tuple[InvalidFile, ...]:
        """The files that are bad now, for a gauge and for readiness; an unreadable directory is one of them."""
        return self._invalid

    @property
    def invalid_count(self) -> int:
        """How many files are bad now."""
        return len(self._invalid)

    @property
    def count(self) -> int:
        """How many policies are in force."""
        return len(self._policies)

    @property
    def directory(self) -> Path:
        """Where the files are."""
        return self._directory

    def place_of(self, namespace: str, service: str) -> str:
        """`file:line:column` of a policy that is in force; "" where there is none."""
        return self._places.get((namespace, service), "")

    async def find(self, namespace: str, service: str) -> PolicySpec | Problem:
        """The last good policy of a service; where there is none, why. Never raises."""
        policy = self._policies.get((namespace, service))
        if policy is not None:
            return policy
        reason = f"no policy for {namespace}/{service} in {self._directory}"
        if self._invalid:
            first = self._invalid[0].errors[0]
            reason += f"; {len(self._invalid)} of its files cannot be used, the first problem is {first}"
        return Problem("no-policy", reason)

    def load(self) -> Changes:
        """Look at the directory again. Raises nothing: what cannot be read is reported as invalid, once."""
        try:
            paths = _listing(self._directory)
        except OSError as error:
            return self._without_directory(error)
        self._outage = None
        removed = tuple(name for name in self._files if name not in paths)
        for name in removed:
            del self._files[name]
        for name, path in paths.items():
            _look(self._files.setdefault(name, _File(path)))
        return self._settle(removed)

    def _without_directory(self, error: OSError) -> Changes:
        """The directory itself is out of reach: everything stays in force."""
        message = f"cannot read the directory: {error.strerror or error}"
        bad = InvalidFile(str(self._directory), (PolicyError(str(self._directory), 1, 1, "", message),))
        new = () if message == self._outage else (bad,)
        self._outage = message
        self._invalid = (bad, *(one for one in self._invalid if one.file != bad.file))
        return Changes(invalid=new)

    def _settle(self, removed: tuple[str, ...]) -> Changes:
        """Decide which files come into force, after all have been looked at."""
        files = sorted(self._files.values(), key=lambda file: file.path.name)
        _find_clashes(files)
        loaded, invalid, bad = [], [], []
        policies: dict[Key, PolicySpec] = {}
        places: dict[Key, str] = {}
        for file in files:
            errors = file.errors or tuple(file.clashes)
            if errors:
                bad.append(InvalidFile(str(file.path), errors))
            else:
                file.good = file.parsed
            policies |= {_key(one): one.policy.spec for one in file.good}
            places |= {_key(one): f"{file.path}:{one.line}:{one.column}" for one in file.good}
            outcome = (file.digest, errors)
            if outcome != file.told:
                file.told = outcome
                if errors:
                    invalid.append(bad[-1])
                else:
                    loaded.append(LoadedFile(str(file.path), tuple(_key(one) for one in file.good)))
        self._policies, self._places = policies, places
        self._invalid = tuple(bad)
        return Changes(tuple(loaded), tuple(invalid), tuple(str(self._directory / name) for name in removed))


def _key(one: Located) -> Key:
    return one.policy.metadata.namespace, one.policy.metadata.name


def _listing(directory: Path) -> dict[str, Path]:
    """File name -> path, sorted. Raises OSError if the directory cannot be read."""
    found = [
        path
        for path in directory.iterdir()
        if path.suffix in {".yaml", ".yml"} and not path.name.startswith(".") and path.is_file()
    ]
    return {path.name: path for path in sorted(found)}


def _look(file: _File) -> None:
    """Read the file again unless it cannot have changed, parse it again only if its content did."""
    try:
        signature = _signature(file.path.stat())
        if signature == file.signature and file.settled:
            return
        file.settled = signature == file.signature
        file.signature = signature
        with file.path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        file.signature, file.settled, file.digest = None, False, b""
        file.parsed = ()
        file.errors = (PolicyError(str(file.path), 1, 1, "", f"cannot be read: {error.strerror or error}"),)
        return
    digest = hashlib.sha256(content).digest()
    if digest == file.digest:
        return
    file.digest = digest
    try:
        file.parsed, file.errors = read_located(content, str(file.path)), ()
    except PolicyErrors as error:
        file.parsed, file.errors = (), error.errors


def _signature(stat: stat_result) -> _Signature:
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino, stat.st_dev


def _find_clashes(files: list[_File]) -> None:
    """Refuse every file that names a service another file speaks for: nobody could say which of them is meant.

    A refused file speaks for what it has in force as well, so refusals can spread; each round refuses one file at
    least, or is the last.
    """
    for file in files:
        file.clashes = []
    for _ in range(len(files) + 1):
        speakers: dict[Key, list[tuple[_File, Located]]] = {}
        for file in files:
            for key, one in file.claims():
                speakers.setdefault(key, []).append((file, one))
        fresh = [
            (file, error)
            for key, claimed in speakers.items()
            if len(claimed) > 1
            for file, error in _clash(key, claimed)
            if not file.errors and error not in file.clashes
        ]
        if not fresh:
            return
        for file, error in fresh:
            file.clashes.append(error)


def _clash(key: Key, claimed: list[tuple[_File, Located]]) -> Iterator[tuple[_File, PolicyError]]:
    for file, one in claimed:
        if one not in file.parsed:
            continue
        others = ", ".join(f"{other.path}:{place.line}:{place.column}" for other, place in claimed if other is not file)
        message = f"{'/'.join(key)} has a policy at {others} too; neither file is used until one of them is gone"
        yield file, PolicyError(str(file.path), one.line, one.column, "metadata.name", message)
