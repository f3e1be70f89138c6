"""The way to our HTTP API: which address, whose certificate, which token. No request.

Belongs here: what `--server` and its companions mean, and which of them may not be. Does not belong here: asking
(`adapters/remote_desk.py`).
"""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import typer

from rollout.cli.session import Far

SERVER, TOKEN, TOKEN_FILE = "ROLLOUT_SERVER", "ROLLOUT_TOKEN", "ROLLOUT_TOKEN_FILE"


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom to ask, and how to be believed."""

    url: str
    """Without a slash at its end."""
    token: Callable[[], str | None] = field(repr=False)
    """Asked before each request, so that a rotated token is used at once. Raises OSError."""
    ca_file: Path | None = None
    env_proxy: bool = False


def reach_of(far: Far, environ: Mapping[str, str], *, kubeconfig_too: bool = False) -> Reach:
    """What the options mean, with the variables behind them.

    Raises:
        typer.BadParameter: no such address, plain http to another machine, two ways or two tokens at once, a variable
            without a token.
    """
    if kubeconfig_too:
        said = "say --kubeconfig and --context, or --server: each is a way of its own"
        raise typer.BadParameter(said, param_hint="--server")
    url = (far.server or environ.get(SERVER, "")).rstrip("/")
    _check(url, insecure_http=far.insecure_http)
    return Reach(url, _token_of(far, environ), far.ca_file, far.env_proxy)


def _check(url: str, *, insecure_http: bool) -> None:
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_is_fine = urlsplit(""), False
    plain = parts.username is None and not parts.query and not parts.fragment and url.isascii() and url.isprintable()
    if parts.scheme not in {"http", "https"} or not parts.hostname or not port_is_fine or not plain or " " in url:
        said = "expected https://HOST or https://HOST:PORT, without a user or a query"
        raise typer.BadParameter(said, param_hint="--server")
    if parts.scheme == "http" and not insecure_http and not _is_this_machine(parts.hostname):
        said = f"everybody on the way to {parts.hostname} could read the token: https://, or --insecure-http"
        raise typer.BadParameter(said, param_hint="--server")


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token_of(far: Far, environ: Mapping[str, str]) -> Callable[[], str | None]:
    """Options before variables, a file before a value."""
    if far.token_file is not None and far.token_env is not None:
        raise typer.BadParameter("say --token-file or --token-env, not both", param_hint="--token-file")
    if far.token_env is not None:
        if not environ.get(far.token_env):
            raise typer.BadParameter(f"there is no variable {far.token_env}, or it is empty", param_hint="--token-env")
        return _always(environ[far.token_env])
    named = str(far.token_file) if far.token_file is not None else environ.get(TOKEN_FILE)
    if named:
        return _file(Path(named))
    return _always(environ.get(TOKEN) or None)


def _always(token: str | None) -> Callable[[], str | None]:
    return lambda: token


def _file(path: Path) -> Callable[[], str | None]:
    return lambda: path.read_text(encoding="ascii", errors="replace")
