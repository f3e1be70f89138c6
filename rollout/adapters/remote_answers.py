"""What the HTTP API's answers mean, in the words of the desk and of the ports: models, and problems as exceptions.

Belongs here: reading JSON that came, RFC 9457. Does not belong here: requests (`remote_desk.py`), writing such answers
(`api/problems.py`).
"""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rollout.core.freeze import Freeze
from rollout.core.preflight import Finding, Report, VersionLabel
from rollout.core.release import Release
from rollout.desk import Busy, Finished, Frozen, KeyReused
from rollout.ports import Conflict, NotFound, Outage, Refused

_FINDINGS = TypeAdapter(tuple[Finding, ...])
_LABEL: TypeAdapter[VersionLabel | None] = TypeAdapter(VersionLabel | None)
_LONGEST_TEXT = 500
_ANOTHER = "is the API of another version?"


class Denied(Refused, Outage):
    """Who may not: only administrators can change that. As `cluster.Denied`."""

    remedy = "`rollout whoami` shows who you are to it, and what you may do; ask whoever runs the API for more"


class Unauthenticated(Denied):
    """Whose token is none."""

    remedy = "name a token with --token-file or --token-env (ROLLOUT_TOKEN_FILE, ROLLOUT_TOKEN)"


_KINDS: Mapping[int, type[Exception]] = {401: Unauthenticated, 403: Denied, 404: NotFound, 412: Conflict}


def meaning_of(url: str, request: str, code: int, body: Any) -> Exception:
    """What an answer that is none of those hoped for means.

    Args:
        url: of the API, for people.
        request: `GET /v1/releases`, for people.
        code: of HTTP.
        body: parsed; anything.
    """
    problem: dict[str, Any] = body if isinstance(body, dict) else {}
    cause = str(problem.get("code") or "")
    if 300 <= code < 400:
        return Outage(f"{url} redirects to another address, which is not followed: name that one")
    if code == 404 and not cause:
        return Outage(f"{url} has no {request.rsplit(maxsplit=1)[-1]}: is this the address of rollout's API?")
    said = _said(problem) or f"{request} was answered with {code}"
    if (told := _told(cause, problem, said)) is not None:
        return told
    if code in {408, 425, 429} or code >= 500:
        return Outage(said)
    return _KINDS.get(code, Refused)(said)


def _told(cause: str, problem: dict[str, Any], said: str) -> Exception | None:
    """The exception of the desk that a problem stands for; None where it says no more than its status."""
    release, freeze = problem.get("release"), problem.get("freeze")
    match cause:
        case "busy" if release:
            return Busy(release_of(release))
        case "finished" if release:
            return Finished(release_of(release))
        case "key-reused" if release:
            return KeyReused(release_of(release), said)
        case "frozen" if freeze:
            return Frozen(freeze_of(freeze))
        case "conflict":
            return Conflict(said)
        case _:
            return None


def _said(problem: dict[str, Any]) -> str:
    """The detail, and what is wrong with each field that it does not name."""
    detail = str(problem.get("detail") or problem.get("title") or "")
    errors = problem.get("errors")
    if isinstance(errors, list):
        lines = (f"{one.get('pointer', '')}: {one.get('detail', '')}" for one in errors if isinstance(one, dict))
        detail = "; ".join(part for part in (detail, *(line for line in lines if line not in detail)) if part)
    return detail[:_LONGEST_TEXT]


def field(answer: Any, name: str) -> Any:
    """A member that must be there. Raises Outage."""
    if not isinstance(answer, dict) or name not in answer:
        raise Outage(f"the answer has no {name}: {_ANOTHER}")
    return answer[name]


def release_of(found: Any) -> Release:
    """A release as it came. Raises Outage where it cannot be read."""
    try:
        return Release.model_validate(found)
    except ValidationError as error:
        raise Outage(f"a release came that cannot be read, {_ANOTHER} {_first(error)}") from error


def freeze_of(found: Any) -> Freeze:
    """A freeze as it came. Raises Outage where it cannot be read."""
    try:
        return Freeze.model_validate(found)
    except ValidationError as error:
        raise Outage(f"a freeze came that cannot be read, {_ANOTHER} {_first(error)}") from error


def report_of(answer: Any) -> Report:
    """What a preflight found. Raises Outage where it cannot be read."""
    try:
        return Report(_FINDINGS.validate_python(field(answer, "findings")), _LABEL.validate_python(_label(answer)))
    except ValidationError as error:
        raise Outage(f"a finding came that cannot be read, {_ANOTHER} {_first(error)}") from error


def _label(answer: Any) -> Any:
    """Absent where the series do not tell."""
    return answer.get("versionLabel")


def _first(error: ValidationError) -> str:
    problem = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
