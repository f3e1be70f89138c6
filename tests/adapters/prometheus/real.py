"""The real Prometheus, scraping proxies of this process; one for the whole test session."""

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest
import requests

from tests.adapters.prometheus.exporter import Exporter, serving
from tests.fakes.metrics import JOB, Proxy, proxies

SCRAPE = "200ms"
_PATIENCE = 20.0
_KEY = pytest.StashKey["RealPrometheus"]()


def instant() -> datetime:
    """The time that the real Prometheus lives in."""
    return datetime.now(UTC)  # noqa: TID251 - the real Prometheus lives in real time


class RealPrometheus:
    """A running Prometheus and the proxies that it scrapes."""

    def __init__(self, url: str, exporter: Exporter, discovered: Path) -> None:
        self.url = url
        self.exporter = exporter
        self._discovered = discovered

    @property
    def proxies(self) -> dict[str, Proxy]:
        """By name, which is their `instance`."""
        return self.exporter.proxies

    def query(self, promql: str, at: datetime | None = None) -> list[dict[str, Any]]:
        """The result of an instant query, `at` a time or now; AssertionError where Prometheus refuses it."""
        form = {"query": promql} if at is None else {"query": promql, "time": str(at.timestamp())}
        answer = requests.post(f"{self.url}/api/v1/query", data=form, timeout=5).json()
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def discover(self, proxy: Proxy) -> None:
        """Let Prometheus find one more target (within some seconds), in place of the last one found so."""
        self.exporter.proxies[proxy.name] = proxy
        target = {
            "targets": [f"127.0.0.1:{self.exporter.port}"],
            "labels": {"instance": proxy.name, "__metrics_path__": f"/{proxy.name}"},
        }
        fresh = self._discovered.with_suffix(".new")
        fresh.write_text(json.dumps([target]))
        fresh.replace(self._discovered)

    def _last_scrape(self, name: str, *, good: bool) -> float:
        """When the last one began; 0 if there is none, or if it failed and is to be a good one."""
        unless = f' and up{{instance="{name}"}} == 1' if good else ""
        result = self.query(f'timestamp(up{{instance="{name}"}}){unless}')
        return float(result[0]["value"][1]) if result else 0.0

    async def scraped(self, *names: str) -> datetime:
        """Wait until a scrape of each target has begun after this call, and is stored; the time then."""
        await self._scrapes(*names, good=False)
        return instant()

    async def frozen(self, name: str) -> datetime:
        """The time of such a scrape that got an answer: what is asked of it stays, though a later scrape fails."""
        [scrape] = await self._scrapes(name, good=True)
        return datetime.fromtimestamp(scrape, UTC)

    async def _scrapes(self, *names: str, good: bool) -> list[float]:
        asked, limit, found = instant().timestamp(), monotonic() + _PATIENCE, []
        for name in names:
            while (scrape := await asyncio.to_thread(self._last_scrape, name, good=good)) <= asked:
                assert monotonic() < limit, f"no scrape of {name}"
                await asyncio.sleep(0.02)
            found.append(scrape)
        return found


@contextmanager
def prometheus(exporter: Exporter) -> Iterator[RealPrometheus]:
    """Start it on a free port, with its data in a folder of its own; gone at the end of the block, or with us."""
    with ExitStack() as stack:
        stack.enter_context(serving(exporter))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="prometheus-")))
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        static = [
            {
                "targets": [f"127.0.0.1:{exporter.port}"],
                "labels": {"instance": name, "__metrics_path__": f"/{name}"},
            }
            for name in (*exporter.proxies, *exporter.pages)
        ]
        job = {
            "job_name": JOB,
            "static_configs": static,
            "file_sd_configs": [{"files": [str(folder / "discovered.json")]}],
        }
        # JSON is YAML.
        config = {"global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE}, "scrape_configs": [job]}
        (folder / "prometheus.yml").write_text(json.dumps(config))
        binary = shutil.which("prometheus")
        assert binary, "these tests need Debian's package `prometheus`"
        command = [
            *("setpriv", "--pdeathsig", "KILL", binary),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
        log = stack.enter_context((folder / "log").open("wb"))
        child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        stack.callback(_stop, child)
        real = RealPrometheus(f"http://127.0.0.1:{port}", exporter, folder / "discovered.json")
        _wait_until_it_scrapes(real, child, len(static))
        yield real


def _wait_until_it_scrapes(real: RealPrometheus, child: subprocess.Popen[bytes], targets: int) -> None:
    limit = monotonic() + _PATIENCE
    while True:
        assert child.poll() is None, "Prometheus ended"
        try:
            if len(real.query("up")) >= targets:
                return
        except requests.RequestException:
            pass
        assert monotonic() < limit, "Prometheus does not scrape"
        Event().wait(0.05)


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait(5)


def shared(config: pytest.Config) -> RealPrometheus:
    """The session's Prometheus, started when first asked, with all `proxies()` and the page `odd`."""
    if _KEY not in config.stash:
        stack = ExitStack()
        exporter = Exporter(proxies())
        exporter.pages["odd"] = ""
        config.stash[_KEY] = stack.enter_context(prometheus(exporter))
        config.add_cleanup(stack.close)
    return config.stash[_KEY]
