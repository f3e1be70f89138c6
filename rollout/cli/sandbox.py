"""`rollout sandbox`: hands over to the sandbox, which is an extra of the package."""

import contextlib
from collections.abc import Iterator
from typing import Annotated

import typer

from rollout.cli.exits import ExitCode, Stop

app = typer.Typer(
    name="sandbox",
    help="The whole world on this machine: Envoy, Prometheus, a Kubernetes API, a demo service, load.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Kubernetes = Annotated[
    bool,
    typer.Option("--kubernetes", help="On a real kube-apiserver with its controllers (see `make kubernetes`)."),
]


@app.command()
def demo(kubernetes: _Kubernetes = False) -> None:
    """Play the story of five releases, and check that each ends as told."""
    with _installed():
        from rollout.sandbox.demo import main
    with _programs():
        code = main(kubernetes=kubernetes)
    raise typer.Exit(code)


@app.command()
def up(
    rate: Annotated[int, typer.Option("--rate", min=1, max=2000, help="Requests per second.")] = 300,
    kubernetes: _Kubernetes = False,
) -> None:
    """Run the world of the demo until Ctrl-C; prints what to try."""
    with _installed():
        from rollout.sandbox.up import up as run
    with _programs():
        code = run(rate, kubernetes=kubernetes)
    raise typer.Exit(code)


@app.command("set")
def set_(
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Such as checkout.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Such as v2.")],
    errors: Annotated[str | None, typer.Option("--errors", metavar="SHARE", help="Answered with 500: 5%.")] = None,
    slow: Annotated[str | None, typer.Option("--slow", metavar="SHARE", help="Slower than 50 ms: 20%.")] = None,
    latency: Annotated[str | None, typer.Option("--latency", metavar="TIME", help="On every answer: +200ms.")] = None,
    ready: Annotated[str | None, typer.Option("--ready", metavar="yes|no", help="Whether its pods are ready.")] = None,
) -> None:
    """Make a version of the running sandbox fail, slow or unready."""
    if {errors, slow, latency, ready} == {None}:
        raise typer.BadParameter("name at least one: --errors, --slow, --latency, --ready", param_hint="options")
    with _installed():
        from rollout.sandbox.up import set_knobs
    raise typer.Exit(set_knobs(service, version, errors=errors, slow=slow, latency=latency, ready=ready))


@contextlib.contextmanager
def _installed() -> Iterator[None]:
    """A missing package of the extra is the user's to install; a missing module of ours is a bug."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("rollout"):
            raise
        extra = "install this package's extra `sandbox`, from where it was installed: `pip install '.[sandbox]'`"
        message = f"the sandbox needs the package {error.name}\n{extra}"
        raise Stop(ExitCode.USAGE, message) from error


@contextlib.contextmanager
def _programs() -> Iterator[None]:
    """A missing program is the user's to install, too; its message says how."""
    from rollout.sandbox.control_plane import KubernetesMissingError
    from rollout.sandbox.prometheus import PrometheusMissingError

    try:
        yield
    except (KubernetesMissingError, PrometheusMissingError) as error:
        raise Stop(ExitCode.USAGE, str(error)) from error
