"""The probes and the metrics, over HTTP."""

import asyncio
import socket

import httpx2
import pytest

from rollout.api.observability import application, serve


@pytest.mark.parametrize(("ready", "code"), [(True, 200), (False, 503)])
async def test_ready_means_that_the_kubernetes_api_answered_lately(ready: bool, code: int) -> None:
    transport = httpx2.ASGITransport(application(lambda: ready))
    async with httpx2.AsyncClient(transport=transport, base_url="http://controller") as client:
        assert (await client.get("/readyz")).status_code == code
        assert (await client.get("/livez")).status_code == 200


async def test_metrics_are_our_own_and_nothing_else() -> None:
    transport = httpx2.ASGITransport(application(lambda: True))
    async with httpx2.AsyncClient(transport=transport, base_url="http://controller") as client:
        text = (await client.get("/metrics")).text
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert "rollout_policy_files_invalid" in names
    assert all(name.startswith("rollout_") for name in names)


async def test_it_serves_on_an_address_until_it_is_cancelled() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    task = asyncio.create_task(serve(f"127.0.0.1:{port}", lambda: True))
    async with httpx2.AsyncClient(trust_env=False) as client, asyncio.timeout(10):
        while True:
            try:
                answer = await client.get(f"http://127.0.0.1:{port}/livez")
                break
            except httpx2.TransportError:
                await asyncio.sleep(0.02)
    assert answer.text == "ok\n"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


async def test_a_taken_port_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        await serve(f"127.0.0.1:{taken.getsockname()[1]}", lambda: True)
