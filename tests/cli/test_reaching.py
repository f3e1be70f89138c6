"""Which way is taken: a kubeconfig or the HTTP API, and with which token."""

from pathlib import Path

import pytest
import typer

from rollout.cli.reaching import reach_of
from rollout.cli.session import Far, Session, Surroundings
from rollout.core.access import Identity, Right
from tests.cli.api_thread import TOKEN
from tests.cli.conftest import Terminal
from tests.given import NAME, release

URL = "https://rollout.example.com"


def session(far: Far | None = None, kubeconfig: Path | None = None, **environ: str) -> Session:
    return Session(Surroundings(environ=environ), kubeconfig=kubeconfig, far=far or Far())


def test_without_a_server_it_is_the_kubeconfig() -> None:
    assert session().reach is None


def test_the_variable_names_a_server_unless_a_kubeconfig_is_typed() -> None:
    reach = session(ROLLOUT_SERVER=URL).reach
    assert reach is not None
    assert reach.url == URL
    assert session(kubeconfig=Path("mine"), ROLLOUT_SERVER=URL).reach is None


def test_two_ways_at_once_are_a_usage_error() -> None:
    with pytest.raises(typer.BadParameter):
        _ = session(Far(server=URL), kubeconfig=Path("mine")).reach


@pytest.mark.parametrize(
    "url",
    [
        "rollout.example.com",
        "ftp://rollout.example.com",
        "https://",
        "https://ann:secret@rollout.example.com",
        "https://rollout.example.com/?token=x",
        "https://rollout.example.com/#x",
        "https://rollout.example.com:port",
        "https://rollout.example.com:0x1",
        "https://rollout.example .com",
        "https://rollout.example.com\n.evil",
        "https://rollöut.example.com",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(typer.BadParameter):
        reach_of(Far(server=url), {})


@pytest.mark.parametrize("url", [URL, f"{URL}/", f"{URL}:8443/behind/a/path", "http://127.0.0.1:1", "http://[::1]:1"])
def test_an_address_is_taken_without_its_last_slash(url: str) -> None:
    assert reach_of(Far(server=url), {}).url == url.rstrip("/")


@pytest.mark.parametrize("host", ["rollout.example.com", "10.0.0.1", "localhost.example.com", "0.0.0.0", "127.0.0.1.x"])
def test_plain_http_to_another_machine_needs_to_be_asked_for(host: str) -> None:
    with pytest.raises(typer.BadParameter):
        reach_of(Far(server=f"http://{host}"), {})
    assert reach_of(Far(server=f"http://{host}", insecure_http=True), {}).url == f"http://{host}"


def test_a_token_is_taken_from_the_nearest_that_names_one(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-file\n")
    environ = {"ROLLOUT_TOKEN": "from-variable", "MINE": "from-mine"}
    assert reach_of(Far(server=URL), {}).token() is None
    assert reach_of(Far(server=URL), environ).token() == "from-variable"
    assert reach_of(Far(server=URL), {**environ, "ROLLOUT_TOKEN_FILE": str(file)}).token() == "from-file\n"
    assert reach_of(Far(server=URL, token_env="MINE"), environ).token() == "from-mine"
    assert reach_of(Far(server=URL, token_file=file), environ).token() == "from-file\n"
    with pytest.raises(typer.BadParameter):
        reach_of(Far(server=URL, token_file=file, token_env="MINE"), environ)
    with pytest.raises(typer.BadParameter):
        reach_of(Far(server=URL, token_env="NOT_THERE"), environ)


def test_a_rotated_token_is_used_at_once(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    token = reach_of(Far(server=URL, token_file=file), {}).token
    assert token() == "old"
    file.write_text("new")
    assert token() == "new"


def test_a_token_is_in_no_representation() -> None:
    assert "hush" not in repr(reach_of(Far(server=URL), {"ROLLOUT_TOKEN": "hush"}))


def test_options_after_the_verb_win_over_those_before_it(tmp_path: Path) -> None:
    first = Far(server="https://a", token_env="A", ca_file=tmp_path)
    merged = Far(server="https://b", token_file=tmp_path).over(first)
    assert (merged.server, merged.token_env, merged.token_file, merged.ca_file) == (
        "https://b",
        None,
        tmp_path,
        tmp_path,
    )


def test_the_namespace_may_come_from_the_environment(rollout: Terminal) -> None:
    rollout.given(release().model_copy(update={"namespace": "pay"}))
    rollout.environ["ROLLOUT_NAMESPACE"] = "pay"
    assert rollout("status", NAME).code == 0
    assert rollout("status", NAME, "-n", "shop").code == 2


@pytest.mark.parametrize("token", [None, "", "wrong", "two words", "x" * 20000])
def test_who_is_nobody_is_21_and_told_how_to_be_somebody(afar: Terminal, token: str | None) -> None:
    del afar.environ["ROLLOUT_TOKEN"]
    if token is not None:
        afar.environ["MINE"] = token or " "
    ran = afar("status", *([] if token is None else ["--token-env", "MINE"]))
    assert ran.code == 21
    assert "--token-file" in ran.err
    assert not token or token not in ran.err


def test_a_token_file_that_cannot_be_read_is_21_and_named(afar: Terminal, tmp_path: Path) -> None:
    ran = afar("status", "--token-file", str(tmp_path / "none"))
    assert ran.code == 21
    assert "none" in ran.err


def test_a_certificate_file_that_holds_none_is_a_usage_error(afar: Terminal, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    assert afar("status", "--ca-file", str(tmp_path / "ca.pem")).code == 2


def test_a_server_that_is_not_there_is_20(afar: Terminal) -> None:
    ran = afar("status", "--server", "http://127.0.0.1:1")
    assert ran.code == 20
    assert "127.0.0.1:1" in ran.err


def test_a_typed_server_and_token_file_do(afar: Terminal, tmp_path: Path) -> None:
    url, file = afar.environ.pop("ROLLOUT_SERVER"), tmp_path / "token"
    del afar.environ["ROLLOUT_TOKEN"]
    file.write_text(f"{TOKEN}\n")
    afar.given(release())
    assert afar("--server", url, "status", NAME, "--token-file", str(file)).code == 0


def test_by_is_who_the_token_says_over_http_whatever_the_environment_says(afar: Terminal) -> None:
    afar.given(release())
    afar.environ["GITHUB_ACTOR"] = "eve"
    assert afar("abort", NAME).code == 0
    wish = afar.cluster.only().spec.abort
    assert wish is not None
    assert wish.by == "github:ann"


def test_a_ci_job_that_may_only_its_own_service_names_it_as_people_do(afar: Terminal) -> None:
    afar.authenticator.tokens["job"] = Identity(name="repo:acme/checkout", issuer="github")
    afar.authorizer.services = {("github", right, "shop", "checkout") for right in (Right.GET, Right.ABORT)}
    afar.environ["ROLLOUT_TOKEN"] = "job"
    afar.given(release())
    assert afar("status", "checkout").code == 0
    assert afar("abort", "checkout").code == 0
    assert afar("status", "till").code == 21
    assert afar("status").code == 21
