"""Who asks, from where: the person at the terminal, or the CI job as its environment tells. No decision, no request.

The names are those of GitHub's "Default environment variables", GitLab's "Predefined CI/CD variables" and Jenkins'
"Using environment variables". Tekton tells a step nothing and Argo Workflows only the node: there, and anywhere else,
the pipeline says it in `ROLLOUT_CI_*`, which win over what was found.
"""

import getpass
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rollout.core.release import Source


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a CI job, as far as its environment tells; "" for what it does not."""

    system: str = ""
    repository: str = ""
    run: str = ""
    """The run of the pipeline and the job in it: the same in a second attempt where the system counts attempts."""
    attempt: str = ""
    revision: str = ""
    actor: str = ""
    url: str = ""
    """Its page."""


def job_of(environ: Mapping[str, str]) -> Job | None:
    """The CI job that this process is a part of; None for a person at a terminal."""
    said = {
        field: environ[variable]
        for field in ("system", "repository", "run", "attempt", "revision", "actor", "url")
        if environ.get(variable := f"ROLLOUT_CI_{field.upper()}")
    }
    found = _found(environ)
    if found is None and not said:
        return None
    return replace(found or Job(system="ci"), **said)


def actor_of(environ: Mapping[str, str]) -> str:
    """Who asks: the CI system's word for it, else the user of this process."""
    job = job_of(environ)
    if job is not None and job.actor:
        return f"{job.system}:{job.actor}"[:256]
    try:
        return getpass.getuser()[:256]
    except (KeyError, OSError):  # a container's arbitrary user id has no name
        return ""


def source_of(environ: Mapping[str, str], reason: str) -> "Source":
    """Where a release comes from, cut to what it takes."""
    from rollout.core.release import Source

    job = job_of(environ) or Job()
    run = f"{job.run}, attempt {job.attempt}" if job.attempt else job.run
    return Source(
        actor=actor_of(environ),
        reason=reason[:1024],
        url=job.url[:2048],
        system=job.system[:64],
        repository=job.repository[:512],
        run=run[:256],
        revision=job.revision[:128],
    )


def key_of(environ: Mapping[str, str], service: str, version: str) -> str | None:
    """The idempotency key of this run of this job; None where no run is known.

    Not the commit: a release that was rolled back must be startable again by running the job again.
    """
    from rollout.desk import default_key

    job = job_of(environ)
    if job is None or not job.run:
        return None
    return default_key(service, version, f"{job.system}/{job.repository}", job.run, job.attempt)


def _found(environ: Mapping[str, str]) -> Job | None:
    if environ.get("GITHUB_RUN_ID"):
        return _github(environ)
    if environ.get("CI_JOB_ID"):
        return _gitlab(environ)
    if environ.get("BUILD_URL"):
        return _jenkins(environ)
    if environ.get("ARGO_NODE_ID"):
        # Set for the main container too; a retried node has another id, a resubmitted workflow as well.
        return Job(system="argo-workflows", run=environ["ARGO_NODE_ID"])
    # Outside a full environment, such as a container step that passes some of it on.
    for system, variable in (("github", "GITHUB_ACTOR"), ("gitlab", "GITLAB_USER_LOGIN"), ("jenkins", "BUILD_USER_ID")):
        if environ.get(variable):
            return Job(system=system, actor=environ[variable])
    return None


def _github(environ: Mapping[str, str]) -> Job:
    run, repository = environ["GITHUB_RUN_ID"], environ.get("GITHUB_REPOSITORY", "")
    return Job(
        system="github",
        repository=repository,
        run=f"{run}/{environ.get('GITHUB_JOB', '')}",
        attempt=environ.get("GITHUB_RUN_ATTEMPT", ""),
        revision=environ.get("GITHUB_SHA", ""),
        actor=environ.get("GITHUB_ACTOR", ""),
        url=f"{environ.get('GITHUB_SERVER_URL', '')}/{repository}/actions/runs/{run}",
    )


def _gitlab(environ: Mapping[str, str]) -> Job:
    """A job that is retried is another job, with another id: GitLab counts no attempts."""
    host, project = environ.get("CI_SERVER_HOST", ""), environ.get("CI_PROJECT_PATH", "")
    return Job(
        system="gitlab",
        repository="/".join(part for part in (host, project) if part),
        run="/".join(part for part in (environ.get("CI_PIPELINE_ID", ""), environ["CI_JOB_ID"]) if part),
        revision=environ.get("CI_COMMIT_SHA", ""),
        actor=environ.get("GITLAB_USER_LOGIN", ""),
        url=environ.get("CI_JOB_URL", ""),
    )


def _jenkins(environ: Mapping[str, str]) -> Job:
    """Every build has its own URL, a replayed one too; GIT_* and BUILD_USER_ID come from plugins."""
    return Job(
        system="jenkins",
        repository=environ.get("GIT_URL", ""),
        run=environ["BUILD_URL"],
        revision=environ.get("GIT_COMMIT", ""),
        actor=environ.get("BUILD_USER_ID", ""),
        url=environ["BUILD_URL"],
    )
