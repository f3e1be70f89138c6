"""The one road outwards: requests to addresses that people named, webhooks, channels and issuers of tokens.

Belongs here: where a request may go at all, one deadline, a small answer. Does not belong here: what is asked or told
(gates, channels, the keys of issuers), the Kubernetes API and Prometheus, which have clients of their own.

A name is looked up once, every address it has must be allowed, and the connection goes to one of these very addresses:
a name server that answers otherwise a moment later changes nothing (DNS rebinding). Redirects are answers, never
followed. No proxy, netrc or cookie of the environment is used. URLs may be secrets (incoming webhooks of chats are), so
no error here says more of one than its scheme and host.
"""

import asyncio
import ipaddress
import logging
import os
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

import httpx2

from rollout.administration import Reach
from rollout.ports import Outage, Refused

MOST_BYTES: Final = 64 * 1024
"""Of an answer's body; what is beyond is left unread."""
_MOST_ADDRESSES: Final = 2
"""Tried of one name, of each version of IP."""
_CONNECTING: Final = 0.45
"""Part of the time for connecting, and for TLS: httpcore2 closes what it gives up, not what is cancelled there."""
_MOST_LOOKUPS: Final = 8
"""Names looked up at once. A name server that hangs holds a thread for as long as the resolver waits."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port -> its addresses as text. Raises OSError."""

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_UNICAST_6: Final = ipaddress.IPv6Network("2000::/3")
_SPECIAL: Final = tuple(
    ipaddress.ip_network(one) for one in ("192.0.0.0/24", "192.88.99.0/24", "224.0.0.0/4", "2001::/23", "3fff::/20")
)
"""Special purpose (IANA registries of RFC 6890), but global to some versions of Python's `ipaddress`."""


_WORDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (httpx2.ConnectTimeout, "it does not accept a connection"),
    (httpx2.ConnectError, "it cannot be connected to"),
    (httpx2.RemoteProtocolError, "it closed the connection without an answer, or answered what is no HTTP"),
)


class Blocked(Refused):
    """A request that must not be made: no https, credentials in the URL, an address that is not allowed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the other side answered, whatever the status; redirects too."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes
    """At most 64 KiB, as sent: never decompressed."""


class Outbound:
    """Requests to the outside; one for the process, nothing to close.

    Args:
        resolve: looks names up; the system's resolver unless a test brings its own.
    """

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or _Resolver().resolve
        self._system: ssl.SSLContext | None = None
        # It would write headers to the debug log, tokens too.
        logging.getLogger("httpcore2").setLevel(logging.WARNING)

    async def send(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        reach: Reach,
        timeout: timedelta,  # noqa: ASYNC109 - stated per receiver in the settings, and named in the error
    ) -> Reply:
        """One request, made once. `timeout` covers all of it, from the lookup to the answer's last byte.

        Raises Blocked when it must not be made, Outage when there is no answer. Whether anything arrived is not known
        after an Outage.
        """
        where, parsed = _checked(url, reach)
        seconds = timeout.total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._send(where, method, parsed, body, headers or {}, reach, seconds)
        # Outside of any handler, here and below: no error of ours carries one of the vendor's, which knows the URL.
        raise Outage(f"{where}: no answer within {seconds:g} s")

    async def _send(
        self,
        where: str,
        method: str,
        url: httpx2.URL,
        body: bytes,
        headers: Mapping[str, str],
        reach: Reach,
        seconds: float,
    ) -> Reply:
        addresses = await self._allowed(where, url, reach)
        tls = await self._tls(where, reach) if url.scheme == "https" else None
        trouble = ""
        for address in addresses:
            request = _request(where, method, url, address, body, headers, _CONNECTING * seconds / len(addresses))
            try:
                return await _exchange(request, tls)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                # Nothing was sent yet: another address may be tried.
                trouble = _why(error)
            except httpx2.LocalProtocolError:
                trouble = ""
                break
            except (httpx2.HTTPError, OSError) as error:
                trouble = _why(error)
                break
        if not trouble:
            raise Blocked(f"{where}: a header holds characters that HTTP does not allow")
        raise Outage(f"{where}: {trouble}")

    async def _allowed(self, where: str, url: httpx2.URL, reach: Reach) -> Sequence[str]:
        """All addresses of the host, each of them allowed."""
        host = url.raw_host.decode("ascii")
        found: Sequence[str] = ()
        with suppress(OSError, UnicodeError):
            found = await self._resolve(host, _port(url))
        if not found:
            raise Outage(f"{where}: the name has no address, or it cannot be looked up now")
        for one in found:
            if not is_allowed(one, reach):
                raise Blocked(
                    f"{where}: {one} is not a public address; the administrator can allow its network under reach.allow"
                )
        sixes, fours = ([one for one in found if (":" in one) is six] for six in (True, False))
        tried = {*sixes[:_MOST_ADDRESSES], *fours[:_MOST_ADDRESSES]}
        return [one for one in found if one in tried]

    async def _tls(self, where: str, reach: Reach) -> ssl.SSLContext:
        if reach.ca_file is None:
            if self._system is None:
                self._system = httpx2.create_ssl_context(trust_env=False)
            return self._system
        try:
            # Read again each time: certificates are replaced under way.
            return ssl.create_default_context(cafile=str(reach.ca_file))
        except OSError as error:
            problem = type(error).__name__
        raise Outage(f"{where}: the certificates in {reach.ca_file} cannot be read: {problem}")


def is_allowed(address: str, reach: Reach) -> bool:
    """Whether a request may go to an address: a public one, or one of the networks of `reach.allow`.

    An IPv4 address that is wrapped in one of IPv6 (mapped, compatible, 6to4, NAT64, RFC 4291, 3056, 6052) is judged as
    what it wraps. Addresses of a link (with a zone) are never allowed.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if getattr(ip, "scope_id", None) is not None:
        return False
    inner = _unwrapped(ip)
    networks = [ipaddress.ip_network(one) for one in reach.allow]
    if any(one.version == network.version and one in network for one in (ip, inner) for network in networks):
        return True
    if any(one in network for network in _SPECIAL for one in (inner,) if one.version == network.version):
        return False
    return inner.is_global and (inner.version == 4 or inner in _UNICAST_6)


def _unwrapped(ip: _Address) -> _Address:
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    inner = ip.ipv4_mapped or ip.sixtofour
    if inner is None and (ip in _NAT64 or ip in _COMPATIBLE):
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip if inner is None else inner


def _checked(url: str, reach: Reach) -> tuple[str, httpx2.URL]:
    """How messages call it, and the URL; the host that is looked up is the host of this very parse."""
    try:
        parsed = httpx2.URL(url)
        where = f"{parsed.scheme}://{parsed.host}"
        port = _port(parsed)
    except (httpx2.InvalidURL, ValueError, UnicodeError):
        parsed, where, port = httpx2.URL(""), "", 0
    if not parsed.host or not 0 < port < 65536:
        raise Blocked("the address is no URL with a host")
    if parsed.scheme not in ({"https", "http"} if reach.insecure else {"https"}):
        raise Blocked(f"{where}: expected https://" + (" or http://" if reach.insecure else ""))
    if parsed.userinfo:
        raise Blocked(f"{where}: a URL must not carry a user or a password")
    return where, parsed


def _port(url: httpx2.URL) -> int:
    return url.port if url.port is not None else (443 if url.scheme == "https" else 80)


def _request(
    where: str, method: str, url: httpx2.URL, address: str, body: bytes, headers: Mapping[str, str], seconds: float
) -> httpx2.Request:
    """The request as it goes to one address, in the name of the host."""
    try:
        named = httpx2.Headers(dict(headers))
    except UnicodeError:
        named = None
    if named is None:
        raise Blocked(f"{where}: a header holds characters that HTTP does not allow")
    named["Host"] = url.netloc.decode("ascii")
    named["User-Agent"] = "rollout"
    named["Accept-Encoding"] = "identity"
    named["Connection"] = "close"
    return httpx2.Request(
        method,
        url.copy_with(host=address, fragment=None),
        headers=named,
        content=body,
        extensions={
            "timeout": {"connect": seconds},
            # A name's dot at the end is not part of what its certificate names (RFC 6066 §3).
            "sni_hostname": url.raw_host.decode("ascii").rstrip("."),
        },
    )


async def _exchange(request: httpx2.Request, tls: ssl.SSLContext | None) -> Reply:
    """A connection of its own for each request: none that was checked for one may serve another.

    The transport, not the client above it: that one logs URLs, follows what it is told and remembers cookies.
    """
    async with httpx2.AsyncHTTPTransport(verify=tls or False, trust_env=False) as transport:
        response = await transport.handle_async_request(request)
        try:
            body = bytearray()
            async with aclosing(response.stream.__aiter__()) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) >= MOST_BYTES:
                        break
        finally:
            await response.aclose()
    return Reply(response.status_code, dict(response.headers), bytes(body[:MOST_BYTES]))


def _why(error: BaseException) -> str:
    """Why there is no answer, in words that cannot hold anything of ours: headers, paths and bodies may be secrets."""
    cause: BaseException | None = error
    for _ in range(10):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return "no TLS connection could be made"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
        if cause is None:
            break
        cause = cause.__cause__ or cause.__context__
    return next((words for kind, words in _WORDS if isinstance(error, kind)), "the connection broke")


class _Resolver:
    """The system's resolver in threads of its own: the loop's few are needed for Prometheus.

    Daemon threads, because a lookup cannot be ended and must not keep the process from ending.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_MOST_LOOKUPS)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """All addresses, without duplicates, in the order the system prefers. Raises OSError."""
        with suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Any]] = loop.create_future()

        def done(result: list[Any] | OSError | UnicodeError) -> None:
            # Only when the thread has ended: who asked may have given up long ago.
            self._free.release()
            if found.done():
                return
            if isinstance(result, BaseException):
                found.set_exception(result)
            else:
                found.set_result(result)

        def look() -> None:
            result: list[Any] | OSError | UnicodeError
            try:
                result = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError) as error:
                result = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(partial(done, result))

        threading.Thread(target=look, name="lookup", daemon=True).start()
        return list(dict.fromkeys(str(entry[4][0]) for entry in await found))
