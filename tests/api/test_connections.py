"""Sockets: slow and broken clients, too many of them, certificates, and an orderly end."""

import asyncio
import ipaddress
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rollout.administration import Api
from rollout.api import connections
from rollout.api.connections import Connection, Tls
from tests.api.house import ANN, START, House, Served, bearer, served

SOON = 8.0
HEAD = f"POST /v1/releases HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN}\r\nContent-Type: application/json\r\n"


class Narrow(Connection):
    """Nothing fits between it and the client."""

    taken = 0.3

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        transport.set_write_buffer_limits(1)
        super().connection_made(transport)


class Hasty(Connection):
    arrives = 0.3
    taken = 0.3
    most = 5


@asynccontextmanager
async def dialled(up: Served) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(up.host, up.port)
    try:
        async with asyncio.timeout(SOON):
            yield reader, writer
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """(status, code) of a problem."""
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.splitlines()[1:] if line)
    assert fields[b"content-type"] == b"application/problem+json", head
    return int(head.split()[1]), json.loads(await reader.readexactly(int(fields[b"content-length"])))["code"]


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the other side hangs up, in whatever way, before we lose patience."""
    try:
        return await reader.read(-1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize(
    "sent", ["", "GET /liv", HEAD, HEAD + "Content-Length: 10\r\n\r\n{", HEAD + "Transfer-Encoding: chunked\r\n\r\n1"]
)
async def test_a_request_that_does_not_arrive_is_408_and_the_connection_closed(house: House, sent: str) -> None:
    async with served(house, Hasty) as up, dialled(up) as (reader, writer):
        writer.write(sent.encode())
        assert await answer(reader) == (408, "timeout")
        assert await closed(reader)


async def test_a_client_that_trickles_is_cut_off_all_the_same(house: House) -> None:
    async with served(house, Hasty) as up, dialled(up) as (reader, writer):
        began = asyncio.get_running_loop().time()
        reading = asyncio.create_task(answer(reader))
        writer.write(HEAD.encode())
        for _ in range(400):
            if reading.done():
                break
            writer.write(b"x: y\r\n")
            await asyncio.sleep(0.02)
        assert await reading == (408, "timeout")
        assert asyncio.get_running_loop().time() - began < SOON / 2


async def test_a_refused_client_cannot_hold_the_connection_by_sending_on(house: House) -> None:
    async with served(house, Hasty) as up, dialled(up) as (reader, writer):
        writer.write(HEAD.replace(ANN, "nobody").encode() + b"Content-Length: 60000\r\n\r\n{")
        assert await answer(reader) == (401, "unauthenticated")
        assert await closed(reader)


async def test_idle_connections_between_requests_are_kept(house: House) -> None:
    async with served(house, Hasty) as up, dialled(up) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            await reader.readexactly(len(b'{"status": "ok"}'))
            await asyncio.sleep(Hasty.arrives * 2)


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\n: x\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a" * 40_000],
)
async def test_what_is_no_http_is_told_so(house: House, sent: bytes) -> None:
    async with served(house, Hasty) as up, dialled(up) as (reader, writer):
        writer.write(sent)
        assert await answer(reader) == (400, "invalid-request")


async def test_more_connections_than_there_may_be_are_503_and_the_others_work_on(house: House) -> None:
    async with served(house, Hasty) as up:
        first = [await asyncio.open_connection(up.host, up.port) for _ in range(Hasty.most)]
        await asyncio.sleep(0.05)
        async with dialled(up) as (reader, _writer):
            assert await answer(reader) == (503, "outage")
        reader, writer = first[0]
        writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        for _reader, one in first:
            one.close()


async def test_a_body_that_claims_too_much_is_refused_before_it_is_sent(house: House) -> None:
    async with served(house, Hasty) as up, dialled(up) as (reader, writer):
        writer.write(f"{HEAD}Content-Length: 50000000\r\n\r\n".encode())
        assert await answer(reader) == (413, "too-large")
        assert await closed(reader)


async def test_a_chunked_body_that_grows_too_large_is_refused(house: House) -> None:
    async with served(house) as up, dialled(up) as (reader, writer):
        writer.write(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        for _ in range(20):
            writer.write(b"2000\r\n" + b" " * 0x2000 + b"\r\n")
        assert await answer(reader) == (413, "too-large")


async def test_a_client_that_takes_nothing_is_cut_off_and_its_stream_given_back(house: House) -> None:
    made = await house.started()
    house.but(ping_seconds=0.001, limits=Api(per_minute=10_000, burst=1000, streams=1))
    where = "/v1/releases/shop/checkout-v2"
    async with (
        served(house, Narrow) as up,
        httpx2.AsyncClient(base_url=up.url, trust_env=False, timeout=SOON, headers=bearer(ANN)) as client,
        dialled(up) as (reader, writer),
    ):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        writer.write(f"GET {where}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN}\r\n\r\n".encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        poll = {"wait": "1ms", "after": made.revision}
        for wanted in (429, 200):
            while (await client.get(where, params=poll)).status_code != wanted:
                await asyncio.sleep(0.01)


async def test_closing_ends_streams_and_long_polls_at_once_and_answers_are_whole(house: House) -> None:
    made = await house.started()
    loop = asyncio.get_running_loop()
    async with served(house) as up:
        async with httpx2.AsyncClient(base_url=up.url, headers=bearer(ANN), trust_env=False, timeout=SOON) as client:
            poll = {"wait": "60s", "after": made.revision}
            polls = [asyncio.create_task(client.get("/v1/releases/shop/checkout-v2", params=poll)) for _ in range(5)]
            async with client.stream("GET", "/v1/releases/shop/checkout-v2/events") as stream:
                lines = stream.aiter_lines()
                await anext(lines)
                await asyncio.sleep(0.1)
                began = loop.time()
                up.closing.set()
                assert [line async for line in lines][-1] == ""
            assert {(await one).status_code for one in polls} == {200}
        await up.serving
        assert loop.time() - began < SOON


async def test_a_request_that_never_ends_delays_the_end_only_so_long(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_GRACE_SECONDS", 1)
    async with served(house) as up, dialled(up) as (reader, writer):
        writer.write(f"{HEAD}Content-Length: 10\r\n\r\n{{".encode())
        await asyncio.sleep(0.05)
        up.closing.set()
        await reader.read(-1)
        await up.serving


async def test_the_port_is_free_again_and_a_taken_one_is_an_error_at_once(house: House) -> None:
    async with served(house) as up:
        with pytest.raises(OSError, match="in use"):
            connections.listening(f"127.0.0.1:{up.port}")
    connections.listening(f"127.0.0.1:{up.port}").close()


def certificate(path: Path, name: str) -> Tls:
    """A self-signed one for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (path / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (path / "tls.key").write_bytes(key.private_bytes(*form))
    return Tls(path / "tls.crt", path / "tls.key")


async def test_with_a_certificate_it_is_https_and_a_renewed_one_is_used_at_once(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_RELOAD_SECONDS", 0.02)
    tls = certificate(tmp_path, "first")
    listener = connections.listening("127.0.0.1:0")
    port = listener.getsockname()[1]
    closing = house.backing.closing
    serving = asyncio.create_task(connections.serve(listener, house.application(), closing, tls))
    trust = ssl.create_default_context(cafile=str(tls.certificate))
    async with httpx2.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=trust, trust_env=False) as client:
        made = await client.post("/v1/releases", json=START, headers=bearer(ANN, **{"idempotency-key": "one"}))
        assert made.status_code == 201
    certificate(tmp_path, "second")
    trust = ssl.create_default_context(cafile=str(tls.certificate))
    async with asyncio.timeout(SOON):
        while True:
            try:
                async with httpx2.AsyncClient(verify=trust, trust_env=False) as client:
                    assert (await client.get(f"https://127.0.0.1:{port}/livez")).status_code == 200
                break
            except httpx2.ConnectError:
                await asyncio.sleep(0.02)
    closing.set()
    await serving


async def test_a_certificate_that_is_none_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_text("nonsense")
    with pytest.raises(OSError, match=r"(?i)pem|no start line|ssl"):
        Tls(tmp_path / "tls.crt", tmp_path / "tls.crt").context()
