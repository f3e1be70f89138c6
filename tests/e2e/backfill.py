"""A real Prometheus with a past of its own: samples written as blocks by promtool, as if it had scraped for hours."""

import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic

import requests

_PATIENCE = 30.0
LABELS = {
    "source_workload_namespace": "shop",
    "destination_service": "checkout.shop.svc.cluster.local",
    "destination_canonical_revision": "latest",
}


class Past:
    """Counters of scrape targets, as they were at each scrape."""

    def __init__(self) -> None:
        self._families: dict[str, dict[str, list[str]]] = {}
        self._values: dict[tuple[str, str], float] = {}

    def count(self, name: str, labels: Mapping[str, str], more: float, at: float) -> None:
        """One sample of a counter that rose by so much."""
        text = ",".join(f'{label}="{value}"' for label, value in labels.items())
        value = self._values[name, text] = self._values.get((name, text), 0.0) + more
        self._families.setdefault(name, {}).setdefault(text, []).append(f"{value:.0f} {at:.3f}")

    def up(self, target: Mapping[str, str], at: float) -> None:
        """The target was reached."""
        text = ",".join(f'{label}="{value}"' for label, value in target.items())
        self._families.setdefault("up", {}).setdefault(text, []).append(f"1 {at:.3f}")

    def write(self, file: Path) -> None:
        """OpenMetrics text. Everything is a gauge to promtool, which checks the names of counters and histograms."""
        with file.open("w", encoding="utf-8") as out:
            for name, series in self._families.items():
                out.write(f"# TYPE {name} gauge\n")
                for labels, points in series.items():
                    out.writelines(f"{name}{{{labels}}} {point}\n" for point in points)
            out.write("# EOF\n")


@contextmanager
def remembering(past: Past, folder: Path) -> Iterator[str]:
    """A Prometheus that holds this past and scrapes nothing; its URL. Gone at the end of the block, or with us."""
    promtool, prometheus = shutil.which("promtool"), shutil.which("prometheus")
    assert promtool and prometheus, "these tests need Debian's package `prometheus`"
    text, data, config = folder / "past.om", folder / "data", folder / "prometheus.yml"
    past.write(text)
    made = [promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(data)]
    subprocess.run(made, check=True, capture_output=True, timeout=300)
    config.write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        *("setpriv", "--pdeathsig", "KILL", prometheus),
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait_until_it_answers(f"http://127.0.0.1:{port}", child)
            yield f"http://127.0.0.1:{port}"
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(5)


def _wait_until_it_answers(url: str, child: subprocess.Popen[bytes]) -> None:
    limit = monotonic() + _PATIENCE
    while True:
        assert child.poll() is None, "Prometheus ended"
        try:
            if requests.get(f"{url}/-/ready", timeout=1).ok:
                return
        except requests.RequestException:
            pass
        assert monotonic() < limit, "Prometheus does not answer"
        Event().wait(0.05)
