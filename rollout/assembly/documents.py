"""Documents that people write: policies and the administrator's settings, read for whoever needs them."""

from collections.abc import Sequence
from pathlib import Path

import structlog

from rollout import telemetry
from rollout.adapters import config_file
from rollout.adapters.model_yaml import FileErrors
from rollout.adapters.policy_files import PolicyFiles
from rollout.adapters.policy_yaml import read
from rollout.administration import Settings as Administration
from rollout.core.policy import ServicePolicy
from rollout.ports import Refused


def read_policies(paths: Sequence[Path]) -> tuple[tuple[tuple[Path, ServicePolicy], ...], tuple[str, ...]]:
    """Read policy files for `validate`: (file, policy) pairs, and every problem as `file:line:col: path: message`.

    A ControllerConfig is read too; it has problems or none, and no policies.
    """
    found: list[tuple[Path, ServicePolicy]] = []
    problems: list[str] = []
    for path in paths:
        try:
            text = path.read_bytes()
            if config_file.is_config(text):
                config_file.read(text, str(path))
            else:
                found.extend((path, policy) for policy in read(text, str(path)))
        except FileErrors as errors:
            problems.extend(str(error) for error in errors.errors)
        except OSError as error:
            problems.append(f"{path}:1:1: {error.strerror or error}")
    return tuple(found), tuple(problems)


def read_config(path: Path | None) -> Administration:
    """What the administrator set up; nothing without a file. Raises Refused, one line per problem of it."""
    if path is None:
        return Administration()
    try:
        return config_file.read(path.read_bytes(), str(path))
    except config_file.ConfigErrors as errors:
        problems = str(errors)
    except OSError as error:
        problems = f"{path}:1:1: {error.strerror or error}"
    raise Refused(problems)


def reload_policies(policies: PolicyFiles) -> None:
    """Read changed policy files and say what came of it; a bad file keeps its last good version."""
    log = structlog.stdlib.get_logger("rollout")
    changes = policies.load()
    for loaded in changes.loaded:
        log.info("policy.loaded", file=loaded.file, services=[f"{s[0]}/{s[1]}" for s in loaded.services])
    for invalid in changes.invalid:
        log.error("policy.invalid", file=invalid.file, error=invalid.error)
    for removed in changes.removed:
        log.warning("policy.removed", file=removed)
    telemetry.POLICIES_LOADED.set(policies.count)
    telemetry.POLICIES_INVALID.set(policies.invalid_count)
