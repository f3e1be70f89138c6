import pytest

from rollout.cli.origin import actor_of, run_of, url_of

GITHUB = {
    "GITHUB_ACTOR": "ann",
    "GITHUB_SERVER_URL": "https://github.example",
    "GITHUB_REPOSITORY": "shop/checkout",
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_JOB": "deploy",
}
GITLAB = {"GITLAB_USER_LOGIN": "ann", "CI_JOB_ID": "7", "CI_SERVER_HOST": "git.example", "CI_JOB_URL": "https://git/7"}
JENKINS = {"BUILD_USER_ID": "ann", "BUILD_URL": "https://ci/7"}


@pytest.mark.parametrize(
    ("environ", "actor", "url"),
    [
        (GITHUB, "github:ann", "https://github.example/shop/checkout/actions/runs/7"),
        (GITLAB, "gitlab:ann", "https://git/7"),
        (JENKINS, "jenkins:ann", "https://ci/7"),
    ],
)
def test_a_ci_job_is_known_by_its_environment(environ: dict[str, str], actor: str, url: str) -> None:
    assert actor_of(environ) == actor
    assert url_of(environ) == url
    assert run_of(environ) == run_of(dict(environ))


@pytest.mark.parametrize(
    ("environ", "changed"),
    [(GITHUB, "GITHUB_RUN_ATTEMPT"), (GITHUB, "GITHUB_JOB"), (GITLAB, "CI_JOB_ID"), (JENKINS, "BUILD_URL")],
)
def test_a_re_run_and_another_job_are_other_runs(environ: dict[str, str], changed: str) -> None:
    assert run_of(environ) != run_of(environ | {changed: "2"})


def test_a_person_at_a_terminal_is_no_run() -> None:
    assert run_of({}) is None
    assert url_of({}) == ""
    assert actor_of({})


def test_endless_words_are_cut_to_what_a_release_takes() -> None:
    assert len(actor_of({"GITHUB_ACTOR": "a" * 1000})) == 256
    assert len(url_of({"BUILD_URL": "u" * 5000})) == 2048
