import pytest

from rollout.cli.origin import Job, actor_of, job_of, key_of, source_of

GITHUB = {
    "GITHUB_ACTOR": "ann",
    "GITHUB_SERVER_URL": "https://github.example",
    "GITHUB_REPOSITORY": "shop/checkout",
    "GITHUB_RUN_ID": "7",
    "GITHUB_RUN_ATTEMPT": "1",
    "GITHUB_JOB": "deploy",
    "GITHUB_SHA": "c0ffee",
}
GITLAB = {
    "GITLAB_USER_LOGIN": "ann",
    "CI_JOB_ID": "7",
    "CI_PIPELINE_ID": "3",
    "CI_SERVER_HOST": "git.example",
    "CI_PROJECT_PATH": "shop/checkout",
    "CI_JOB_URL": "https://git/7",
    "CI_COMMIT_SHA": "c0ffee",
}
JENKINS = {
    "BUILD_USER_ID": "ann",
    "BUILD_URL": "https://ci/7",
    "GIT_URL": "https://git.example/shop/checkout",
    "GIT_COMMIT": "c0ffee",
}
ARGO = {"ARGO_NODE_ID": "release-abc12-123", "ROLLOUT_CI_REPOSITORY": "shop/checkout"}
TEKTON = {
    "ROLLOUT_CI_SYSTEM": "tekton",
    "ROLLOUT_CI_REPOSITORY": "shop/checkout",
    "ROLLOUT_CI_RUN": "release-abc12",
    "ROLLOUT_CI_REVISION": "c0ffee",
    "ROLLOUT_CI_ACTOR": "ann",
    "ROLLOUT_CI_URL": "https://tekton/release-abc12",
}
SYSTEMS = [
    (GITHUB, "github", "github:ann", "https://github.example/shop/checkout/actions/runs/7", "7/deploy, attempt 1"),
    (GITLAB, "gitlab", "gitlab:ann", "https://git/7", "3/7"),
    (JENKINS, "jenkins", "jenkins:ann", "https://ci/7", "https://ci/7"),
    (TEKTON, "tekton", "tekton:ann", "https://tekton/release-abc12", "release-abc12"),
]


@pytest.mark.parametrize(("environ", "system", "actor", "url", "run"), SYSTEMS)
def test_a_ci_job_is_known_by_its_environment(
    environ: dict[str, str], system: str, actor: str, url: str, run: str
) -> None:
    source = source_of(environ, "because")
    assert (source.system, source.actor, source.url, source.run) == (system, actor, url, run)
    assert source.repository.endswith("shop/checkout")
    assert source.revision == "c0ffee"
    assert source.reason == "because"


def test_a_node_of_argo_workflows_is_a_run_and_what_it_does_not_tell_is_said_by_the_pipeline() -> None:
    assert job_of(ARGO) == Job(system="argo-workflows", run="release-abc12-123", repository="shop/checkout")


def test_what_the_pipeline_says_wins_over_what_was_found() -> None:
    job = job_of(GITHUB | {"ROLLOUT_CI_REVISION": "v1.2.3", "ROLLOUT_CI_RUN": ""})
    assert job is not None
    assert (job.revision, job.run) == ("v1.2.3", "7/deploy")


@pytest.mark.parametrize(
    ("environ", "changed"),
    [
        (GITHUB, "GITHUB_RUN_ATTEMPT"),
        (GITHUB, "GITHUB_RUN_ID"),
        (GITHUB, "GITHUB_JOB"),
        (GITHUB, "GITHUB_REPOSITORY"),
        (GITLAB, "CI_JOB_ID"),
        (JENKINS, "BUILD_URL"),
        (ARGO, "ARGO_NODE_ID"),
        (TEKTON, "ROLLOUT_CI_RUN"),
    ],
)
def test_a_re_run_and_another_job_have_another_key(environ: dict[str, str], changed: str) -> None:
    key = key_of(environ, "checkout", "v2")
    assert key is not None
    assert key == key_of(dict(environ), "checkout", "v2")
    assert key != key_of(environ | {changed: "2"}, "checkout", "v2")


@pytest.mark.parametrize(("service", "version"), [("checkout", "v3"), ("till", "v2")])
def test_one_job_may_release_several_services_and_versions(service: str, version: str) -> None:
    assert key_of(GITHUB, "checkout", "v2") != key_of(GITHUB, service, version)


def test_the_commit_is_no_part_of_the_key() -> None:
    assert key_of(GITHUB, "checkout", "v2") == key_of(GITHUB | {"GITHUB_SHA": "decaf"}, "checkout", "v2")


def test_a_person_at_a_terminal_is_no_run() -> None:
    assert job_of({}) is None
    assert key_of({}, "checkout", "v2") is None
    assert key_of({"GITHUB_ACTOR": "ann"}, "checkout", "v2") is None
    assert actor_of({})
    assert source_of({}, "").url == ""


def test_endless_words_are_cut_to_what_a_release_takes() -> None:
    long = dict.fromkeys((*GITHUB, "ROLLOUT_CI_SYSTEM"), "x" * 5000)
    source = source_of(long, "r" * 5000)
    assert len(source.actor) == len(source.run) == 256
    assert len(source.url) == 2048
    assert len(source.reason) == 1024
    assert len(source.system) == 64
