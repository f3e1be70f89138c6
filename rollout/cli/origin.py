"""Who asks, from where: the person at the terminal, or the CI job as its environment tells. No decision, no request.

The names are those of GitHub's "Default environment variables", GitLab's "Predefined CI/CD variables" and Jenkins'
"Using environment variables".
"""

import getpass
from collections.abc import Mapping


def actor_of(environ: Mapping[str, str]) -> str:
    """Who asks: the CI system's word for it, else the user of this process."""
    for system, variable in (("github", "GITHUB_ACTOR"), ("gitlab", "GITLAB_USER_LOGIN"), ("jenkins", "BUILD_USER_ID")):
        if environ.get(variable):
            return f"{system}:{environ[variable]}"[:256]
    try:
        return getpass.getuser()[:256]
    except (KeyError, OSError):  # a container's arbitrary user id has no name
        return ""


def url_of(environ: Mapping[str, str]) -> str:
    """The page of the CI job; "" outside of one."""
    if environ.get("GITHUB_RUN_ID"):
        server, repository = environ.get("GITHUB_SERVER_URL", ""), environ.get("GITHUB_REPOSITORY", "")
        return f"{server}/{repository}/actions/runs/{environ['GITHUB_RUN_ID']}"[:2048]
    return (environ.get("CI_JOB_URL") or environ.get("BUILD_URL") or "")[:2048]


def run_of(environ: Mapping[str, str]) -> str | None:
    """What names this one run of this one job, other for a re-run; None outside CI.

    Not the commit: a release that was rolled back must be startable again by running the job again.
    """
    if environ.get("GITHUB_RUN_ID"):
        parts = ("GITHUB_REPOSITORY", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB")
        return "/".join(("github", *(environ.get(part, "") for part in parts)))
    if environ.get("CI_JOB_ID"):
        return f"gitlab/{environ.get('CI_SERVER_HOST', '')}/{environ['CI_JOB_ID']}"
    return f"jenkins/{environ['BUILD_URL']}" if environ.get("BUILD_URL") else None
