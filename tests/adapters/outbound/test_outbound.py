"""The road outwards: where it leads, and where it never does."""

import asyncio
import gzip
import logging
import socket
import threading
import traceback
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.adapters.outbound import MOST_BYTES, Blocked, Outbound, Reply, is_allowed
from rollout.administration import Reach
from rollout.ports import Outage
from tests.adapters.outbound.authority import Authority
from tests.adapters.outbound.receiver import Receiver, Request, answer, receiving

PLAIN = Reach(insecure=True, allow=("127.0.0.0/8",))
SHORT = timedelta(seconds=0.4)
LONG = timedelta(seconds=20)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


def names(**known: Sequence[str]) -> Outbound:
    """A road on which these names have these addresses, and no other name has any."""

    async def resolve(host: str, _port: int) -> Sequence[str]:
        return known.get(host.replace(".", "_"), ())

    return Outbound(resolve)


async def post(
    out: Outbound, url: str, reach: Reach = PLAIN, *, within: timedelta = LONG, token: str = "TOKEN"
) -> Reply:
    headers = {"Authorization": f"Bearer {token}"}
    return await out.send("POST", url, body=b"{}", headers=headers, reach=reach, timeout=within)


async def test_an_answer_comes_back_with_its_status_headers_and_body(receiver: Receiver) -> None:
    receiver.said = answer(202, b"later", Retry_After="7")
    reply = await post(Outbound(), receiver.url)
    assert (reply.status, reply.headers["retry-after"], reply.body) == (202, "7", b"later")
    [got] = receiver.got
    assert (got.method, got.target, got.body) == ("POST", "/hook/SECRET", b"{}")
    assert got.headers["authorization"] == "Bearer TOKEN"
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"


async def test_a_get_has_no_body(receiver: Receiver) -> None:
    await Outbound().send("GET", receiver.url, reach=PLAIN, timeout=LONG)
    [got] = receiver.got
    assert got.method == "GET"
    assert "content-length" not in got.headers


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "169.254.169.254",
        "[fd00:ec2::254]",
        "[fe80::1%25lo]",
        "10.0.0.1",
        "100.64.0.1",
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "[ff02::1]",
    ],
)
async def test_no_spelling_of_an_inner_address_is_asked(receiver: Receiver, host: str) -> None:
    with pytest.raises((Blocked, Outage)) as refused:
        await post(Outbound(), f"http://{host}:{receiver.port}/", Reach(insecure=True), within=timedelta(seconds=5))
    assert receiver.connections == 0
    # A spelling that the system does not take for an address is a name that nobody has.
    assert isinstance(refused.value, Blocked) or "[" in host or "." in host or host.isalnum()


@pytest.mark.parametrize(
    "url",
    [
        "http://hook.example/",
        "ftp://hook.example/",
        "file:///etc/passwd",
        "unix:///run/docker.sock",
        "hook.example",
        "//hook.example/",
        "https://",
        "https:///x",
        "https://user@hook.example/",
        "https://user:secret@hook.example/",
        "https://hook.example\\@evil.example/",
        "https://hook.example:0/",
        "https://hook.example:65536/",
        "https://hook.example:x/",
        "https://[::1/",
        "",
        "\x00",
        "https://hook.example\r\nHost: evil/",
    ],
)
async def test_what_is_no_plain_https_url_is_never_looked_up(url: str) -> None:
    looked: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[str]:
        looked.append(host)
        return ()

    with pytest.raises(Blocked):
        await post(Outbound(resolve), url, Reach())
    assert not looked


async def test_one_inner_address_among_public_ones_is_enough_to_refuse(receiver: Receiver) -> None:
    out = names(hook_example=("93.184.215.14", "127.0.0.1"))
    with pytest.raises(Blocked):
        await post(out, f"http://hook.example:{receiver.port}/", Reach(insecure=True))
    assert receiver.connections == 0


async def test_the_address_that_was_checked_is_the_one_that_is_asked(receiver: Receiver) -> None:
    asked = 0

    async def rebinding(_host: str, _port: int) -> Sequence[str]:
        nonlocal asked
        asked += 1
        return ("127.0.0.2",) if asked == 1 else ("127.0.0.1",)

    only_two = Reach(insecure=True, allow=("127.0.0.2/32",))
    with pytest.raises(Outage):
        await post(Outbound(rebinding), f"http://hook.example:{receiver.port}/", only_two)
    assert (asked, receiver.connections) == (1, 0)


async def test_the_receiver_is_told_the_name_it_is_called_by(receiver: Receiver) -> None:
    await post(names(hook_example=("127.0.0.1",)), f"http://hook.example:{receiver.port}/a?b=c#d")
    [got] = receiver.got
    assert (got.headers["host"], got.target) == (f"hook.example:{receiver.port}", "/a?b=c")


async def test_an_address_that_refuses_is_passed_over_for_the_next(receiver: Receiver) -> None:
    reply = await post(names(hook_example=("127.0.0.9", "127.0.0.1")), f"http://hook.example:{receiver.port}/")
    assert reply.status == 200
    assert len(receiver.got) == 1


async def test_a_redirect_is_an_answer_and_nobody_follows_it(receiver: Receiver) -> None:
    async with receiving() as other:
        receiver.said = answer(307, Location=f"http://127.0.0.1:{other.port}/latest/meta-data/", Set_Cookie="a=b")
        out = Outbound()
        assert (await post(out, receiver.url)).status == 307
        assert (await post(out, receiver.url)).status == 307
        assert other.connections == 0
        assert all("cookie" not in got.headers for got in receiver.got)


async def test_the_proxies_of_the_environment_are_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("HOME", str(tmp_path))
    async with receiving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await Outbound().send("GET", receiver.url, reach=PLAIN, timeout=LONG)
        assert proxy.connections == 0
    assert "authorization" not in receiver.got[0].headers


async def test_a_body_is_cut_at_its_limit_and_the_rest_is_left(receiver: Receiver) -> None:
    async def endless(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(10_000):
            writer.write(b"x" * 65_536)
            await writer.drain()

    receiver.script = endless
    reply = await post(Outbound(), receiver.url)
    assert reply.body == b"x" * MOST_BYTES


async def test_what_is_packed_stays_packed(receiver: Receiver) -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    receiver.said = answer(200, bomb, Content_Encoding="gzip")
    reply = await post(Outbound(), receiver.url)
    assert reply.body == bomb[:MOST_BYTES]
    assert receiver.got[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "trickle", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 100 Go\r\n\r\n", b""]
)
async def test_who_answers_drop_by_drop_is_left_at_the_deadline(receiver: Receiver, trickle: bytes) -> None:
    async def drops(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(trickle)
        for _ in range(2000):
            writer.write(b"x" if not trickle.startswith(b"HTTP/1.1 100") else trickle)
            await writer.drain()
            await asyncio.sleep(0.01)

    receiver.script = drops
    began = asyncio.get_running_loop().time()
    with pytest.raises(Outage):
        await post(Outbound(), receiver.url, within=SHORT)
    assert asyncio.get_running_loop().time() - began < 10


async def test_a_name_server_that_hangs_costs_the_deadline_only() -> None:
    async def hanging(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    with pytest.raises(Outage):
        await post(Outbound(hanging), "https://hook.example/", within=SHORT)


async def test_who_accepts_no_connection_is_an_outage() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Outage, match="Connection refused"):
            await post(Outbound(), f"http://127.0.0.1:{taken.getsockname()[1]}/")


async def test_who_hangs_up_or_talks_nonsense_is_an_outage(receiver: Receiver) -> None:
    for said in (
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx",
    ):
        receiver.said = said
        with pytest.raises(Outage):
            await post(Outbound(), receiver.url, within=timedelta(seconds=5))


async def test_who_sends_endless_headers_is_an_outage(receiver: Receiver) -> None:
    receiver.said = b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(2000))
    with pytest.raises(Outage):
        await post(Outbound(), receiver.url, within=timedelta(seconds=5))


async def test_tls_speaks_to_the_name_and_believes_only_its_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    reach = Reach(allow=("127.0.0.0/8",), ca_file=authority.ca_file)
    out = names(hook_example=("127.0.0.1",), hook_example_=("127.0.0.1",), other_example=("127.0.0.1",))
    async with receiving(authority.server("hook.example", "127.0.0.1")) as receiver:
        for host in ("hook.example", "hook.example."):
            assert (await post(out, f"https://{host}:{receiver.port}/", reach)).status == 200
        assert receiver.server_names == ["hook.example", "hook.example"]
        with pytest.raises(Outage, match="certificate is not trusted"):
            await post(out, f"https://other.example:{receiver.port}/", reach)
        with pytest.raises(Outage, match="certificate is not trusted"):
            await post(out, f"https://hook.example:{receiver.port}/", Reach(allow=("127.0.0.0/8",)))
        assert (await post(Outbound(), f"https://127.0.0.1:{receiver.port}/", reach)).status == 200
        assert len(receiver.got) == 3


async def test_two_names_at_one_address_share_no_connection(receiver: Receiver) -> None:
    out = names(a_example=("127.0.0.1",), b_example=("127.0.0.1",))
    for host in ("a.example", "b.example", "a.example"):
        await post(out, f"http://{host}:{receiver.port}/")
    assert receiver.connections == 3


async def test_an_authority_that_cannot_be_read_is_an_outage_that_names_the_file(tmp_path: Path) -> None:
    reach = Reach(allow=("127.0.0.0/8",), ca_file=tmp_path / "none.pem")
    with pytest.raises(Outage, match=r"none\.pem"):
        await post(names(hook_example=("127.0.0.1",)), "https://hook.example/", reach)


async def test_no_error_and_no_log_line_repeats_a_secret(
    receiver: Receiver, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    out = names(hook_example=("127.0.0.1",))
    told = []
    https = f"https://hook.example:{receiver.port}/SECRET?k=SECRET"
    for url, reach, token in (
        ("https://SECRET:SECRET@hook.example/SECRET", Reach(), "SECRET"),
        ("gopher://hook.example/SECRET", Reach(), "SECRET"),
        ("https://hook.example/SECRET", Reach(), "SECRET"),
        ("https://none.example/SECRET", Reach(), "SECRET"),
        ("https://hook.example:99999/SECRET", Reach(), "SECRET"),
        ("https://hook.example/SECRET\x00", Reach(), "SECRET"),
        (https, Reach(allow=("127.0.0.0/8",)), "SECRET"),
        (https, Reach(allow=("127.0.0.0/8",), ca_file=tmp_path / "none.pem"), "SECRET"),
        (https.replace("https", "http"), PLAIN, "SECRET\nSECRET"),
        (https.replace("https", "http"), PLAIN, "SECRETé"),
        (https.replace("https", "http"), PLAIN, "SECRET"),
    ):
        receiver.said = b"" if "\n" not in token else answer(200)
        with pytest.raises((Blocked, Outage)) as refused:
            await post(out, url, reach, within=timedelta(seconds=2), token=token)
        told.append("".join(traceback.format_exception(refused.value)).replace('"SECRET', ""))
        assert refused.value.__cause__ is None
        assert refused.value.__context__ is None
    receiver.said = answer(200)
    await post(out, https.replace("https", "http"), token="SECRET")
    everything = "\n".join(line for text in told for line in text.splitlines() if not line.startswith("    "))
    assert "SECRET" not in everything
    assert "SECRET" not in caplog.text


async def test_headers_that_are_no_headers_are_refused_not_sent(receiver: Receiver) -> None:
    for token in ("a\r\nX-Injected: 1", "\x00", "é"):
        with pytest.raises(Blocked):
            await post(Outbound(), receiver.url, token=token)
    assert not any("x-injected" in got.headers for got in receiver.got)


@pytest.mark.parametrize(
    ("address", "allow", "allowed"),
    [
        ("93.184.215.14", (), True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", (), True),
        ("64:ff9b::5db8:d70e", (), True),
        ("2002:5db8:d70e::1", (), True),
        ("::ffff:93.184.215.14", (), True),
        ("64:ff9b::a9fe:a9fe", (), False),
        ("64:ff9b:1::1", (), False),
        ("2001::1", (), False),
        ("2001:db8::1", (), False),
        ("3fff::1", (), False),
        ("5f00::1", (), False),
        ("fec0::1", (), False),
        ("fc00::1", (), False),
        ("::", (), False),
        ("192.0.0.8", (), False),
        ("198.18.0.1", (), False),
        ("240.0.0.1", (), False),
        ("fe80::1%eth0", ("fe80::/10",), False),
        ("no address", (), False),
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("11.1.2.3", ("10.0.0.0/8",), True),
        ("192.168.0.1", ("10.0.0.0/8",), False),
        ("::ffff:10.1.2.3", ("10.0.0.0/8",), True),
        ("64:ff9b::a01:203", ("10.0.0.0/8",), True),
        ("fd00::1", ("10.0.0.0/8", "fd00::/8"), True),
        ("169.254.169.254", ("10.0.0.0/8",), False),
    ],
)
def test_an_address_is_public_or_in_an_allowed_network(address: str, allow: tuple[str, ...], allowed: bool) -> None:
    assert is_allowed(address, Reach(allow=allow)) is allowed


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "10.0.0.1/8", "ten", "10.0.0.0/7", "fc00::/6"])
def test_a_network_that_covers_all_or_is_none_is_no_network(network: str) -> None:
    with pytest.raises(ValueError, match="expected networks"):
        Reach(allow=(network,))


async def test_a_system_whose_lookups_hang_costs_the_deadline_and_no_request_to_a_plain_address(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        await post(
            Outbound(),
            f"http://localhost:{receiver.port}/",
            PLAIN.model_copy(update={"allow": ("127.0.0.0/8", "::1/128")}),
        )
    ).status == 200
    out, go_on = Outbound(), threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: go_on.wait(20) and [])
    asks = [asyncio.create_task(post(out, "https://hook.example/", within=SHORT)) for _ in range(12)]
    try:
        assert (await post(out, receiver.url)).status == 200
        ends = await asyncio.gather(*asks, return_exceptions=True)
    finally:
        go_on.set()
    assert all(isinstance(end, Outage) for end in ends)


async def test_many_names_at_once_wait_for_each_other(receiver: Receiver) -> None:
    reach = PLAIN.model_copy(update={"allow": ("127.0.0.0/8", "::1/128")})
    replies = await asyncio.gather(
        *(post(Outbound(), f"http://localhost:{receiver.port}/", reach) for _ in range(5)),
        *(post(out, f"http://localhost:{receiver.port}/", reach) for out in [Outbound()] for _ in range(30)),
    )
    assert {reply.status for reply in replies} == {200}
