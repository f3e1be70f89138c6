"""Policy files: YAML text to `ServicePolicy`, or every problem of the file with its line and column.

A file may hold several policies, one per document. What YAML is allowed at all is `strict_yaml.py`'s business, what a
policy may say is `core/policy.py`'s, and how a problem is told is `model_yaml.py`'s.
"""

from dataclasses import dataclass

from rollout.adapters.model_yaml import FileError, FileErrors, validated
from rollout.adapters.strict_yaml import MAX_PROBLEMS, NotYaml, Place, Problem, parse
from rollout.core.policy import ServicePolicy

PolicyError = FileError


class PolicyErrors(FileErrors):
    """All problems of a policy file, in the order of its text; `str` has one line for each."""


@dataclass(frozen=True, slots=True)
class Located:
    """A policy and where the name of its service stands."""

    policy: ServicePolicy
    line: int
    column: int


def read(text: str | bytes, file: str) -> tuple[ServicePolicy, ...]:
    """The policies of a file, at least one, in order. Raises PolicyErrors, and nothing else on any input."""
    return tuple(one.policy for one in read_located(text, file))


def read_located(text: str | bytes, file: str) -> tuple[Located, ...]:
    """As `read`, with the place of each policy's name."""
    problems: list[Problem] = []
    try:
        documents = parse(text)
    except NotYaml as error:
        documents = error.documents
        problems.append(error.problem)
    if not documents and not problems:
        problems.append(Problem((1, 1), (), "expected a policy (`kind: ServicePolicy`), the file is empty"))
    policies = []
    for document in documents:
        problems.extend(document.problems)
        policy = validated(ServicePolicy, document, problems) if len(problems) < MAX_PROBLEMS else None
        if policy is not None:
            policies.append(Located(policy, *document.locate(("metadata", "name"))))
    problems.extend(_named_twice(policies))
    if problems:
        raise PolicyErrors(file, problems)
    return tuple(policies)


def _named_twice(policies: list[Located]) -> list[Problem]:
    first: dict[tuple[str, str], Place] = {}
    found = []
    for one in policies:
        metadata = one.policy.metadata
        line, _ = first.setdefault((metadata.namespace, metadata.name), (one.line, one.column))
        if line != one.line:
            message = f"{metadata.namespace}/{metadata.name} already has a policy at line {line}"
            found.append(Problem((one.line, one.column), ("metadata", "name"), message))
    return found
