"""The administrator's file: YAML text to `Settings`, or every problem of it with its line and column.

One document, `kind: ControllerConfig`. What it may say is `administration.py`'s, what YAML is allowed at all is
`strict_yaml.py`'s, how a problem is told is `model_yaml.py`'s. The file is read once, at the start; the files it names
(keys, tokens) are read again whenever they are needed.
"""

from rollout.adapters.model_yaml import FileErrors, validated
from rollout.adapters.strict_yaml import Document, NotYaml, Problem, parse
from rollout.administration import ControllerConfig, Settings


class ConfigErrors(FileErrors):
    """All problems of a settings file, in the order of its text; `str` has one line for each."""


def read(text: str | bytes, file: str) -> Settings:
    """The settings of a file. Raises ConfigErrors, and nothing else on any input."""
    problems: list[Problem] = []
    documents = _documents(text, problems)
    problems.extend(problem for document in documents for problem in document.problems)
    if not documents and not problems:
        problems.append(Problem((1, 1), (), "expected settings (`kind: ControllerConfig`), the file is empty"))
    problems.extend(Problem(one.place, (), "a file of settings holds one document") for one in documents[1:])
    config = validated(ControllerConfig, documents[0], problems) if documents else None
    if problems or config is None:
        raise ConfigErrors(file, problems)
    return config.spec


def is_config(text: str | bytes) -> bool:
    """Whether a file means to be settings, however wrong it is otherwise."""
    first = next(iter(_documents(text, [])), None)
    return first is not None and isinstance(first.value, dict) and first.value.get("kind") == "ControllerConfig"


def _documents(text: str | bytes, problems: list[Problem]) -> list[Document]:
    try:
        return parse(text)
    except NotYaml as error:
        problems.append(error.problem)
        return error.documents
