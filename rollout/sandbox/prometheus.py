"""The Prometheus process, which scrapes Envoy as it would scrape a sidecar.

Belongs here: finding the binary, its configuration, its life. Does not belong here: reading from it; that is the
business of whoever judges releases.
"""

import asyncio
import json
import os
import shutil
from pathlib import Path
from typing import Any, Final

import httpx2

from rollout.sandbox.bootstrap import REQUEST_HOST
from rollout.sandbox.processes import Child

JOB: Final = "kubernetes-pods"

_READY_SECONDS: Final = 15.0
_ASK_SECONDS: Final = 5.0
_TARGET_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.02
_RETENTION: Final = "1d"
_OR_UNKNOWN: Final = (
    "destination_workload", "destination_workload_namespace", "destination_app", "destination_version",
    "destination_canonical_service", "destination_service", "destination_service_name",
    "destination_service_namespace",
)  # fmt: skip


class PrometheusMissingError(RuntimeError):
    """There is no Prometheus on this machine."""


def find_prometheus() -> Path:
    """The binary: what ROLLOUT_PROMETHEUS names, or the first `prometheus` on PATH.

    Raises:
        PrometheusMissingError: there is none; the message says how to get it.
    """
    wanted = os.environ.get("ROLLOUT_PROMETHEUS") or "prometheus"
    found = shutil.which(wanted)
    if found is None:
        where = "on PATH" if wanted == "prometheus" else f"at {wanted} (ROLLOUT_PROMETHEUS)"
        raise PrometheusMissingError(f"no prometheus {where}: run `make prometheus`, or set ROLLOUT_PROMETHEUS")
    return Path(found)


def _relabelling() -> list[dict[str, Any]]:
    """From what Envoy exposes to what an Istio sidecar exposes (istio_stats.cc: fallbacks of missing metadata)."""

    def filled(label: str, value: str) -> dict[str, Any]:
        return {"source_labels": [label], "regex": "-?", "target_label": label, "replacement": value}

    return [
        {
            "source_labels": ["__name__"],
            "regex": "envoy_(istio_.*)",
            "target_label": "__name__",
            "replacement": "$1",
        },
        {"source_labels": ["__name__"], "regex": "istio_.*", "action": "keep"},
        {
            "source_labels": ["destination_service", REQUEST_HOST],
            "regex": "-?;(.+)",
            "target_label": "destination_service",
            "replacement": "$1",
        },
        {"regex": REQUEST_HOST, "action": "labeldrop"},
        *(filled(label, "unknown") for label in _OR_UNKNOWN),
        filled("destination_canonical_revision", "latest"),
    ]


def configuration(targets: Path, scrape: float) -> dict[str, Any]:
    """Prometheus's configuration (JSON is YAML): one job, whose targets a file lists.

    Args:
        targets: a file for file_sd_configs.
        scrape: seconds between scrapes.
    """
    interval = f"{round(scrape * 1000)}ms"
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": "1m"},
        "scrape_configs": [
            {
                "job_name": JOB,
                "metrics_path": "/stats/prometheus",
                "params": {"filter": ["^istio"]},
                "file_sd_configs": [{"files": [str(targets)]}],
                "metric_relabel_configs": _relabelling(),
            }
        ],
    }


class Prometheus:
    """One Prometheus on 127.0.0.1 with a data directory of its own.

    Args:
        run_dir: for its configuration, data and log; must exist.
        scrape: seconds between scrapes.
    """

    def __init__(self, run_dir: Path, *, scrape: float) -> None:
        self._dir = run_dir
        self._scrape = scrape
        self._targets = run_dir / "targets.json"
        self._child: Child | None = None
        self._client: httpx2.AsyncClient | None = None

    @property
    def url(self) -> str:
        """Its HTTP API, without a slash at the end."""
        assert self._client is not None, "Prometheus does not run"
        return str(self._client.base_url).rstrip("/")

    @property
    def child(self) -> Child:
        """The process."""
        assert self._child is not None, "Prometheus does not run"
        return self._child

    def launch(self) -> None:
        """Start it; return before it is ready.

        It hands targets to its scraper every 5 s counted from its start (discovery/manager.go, updatert), and no
        flag changes that: the earlier it starts, the earlier it scrapes.

        Raises:
            PrometheusMissingError: there is no binary.
        """
        data = self._dir / "prometheus"
        # Of an earlier world in the same directory: its series would still be answered with for five minutes.
        shutil.rmtree(data, ignore_errors=True)
        config = self._dir / "prometheus.json"
        config.write_text(json.dumps(configuration(self._targets, self._scrape)))
        argv: list[str | Path] = [
            find_prometheus(),
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            f"--storage.tsdb.retention.time={_RETENTION}",
            "--web.listen-address=127.0.0.1:0",
            "--scrape.discovery-reload-interval=100ms",
            "--log.level=warn",
        ]
        self._child = Child.spawn("prometheus", argv, log=self._dir / "prometheus.log")

    def scrape_target(self, admin_url: str, labels: dict[str, str]) -> None:
        """Say what to scrape, and the labels of the pod it is in."""
        target = {"targets": [admin_url.removeprefix("http://")], "labels": labels}
        temporary = self._targets.with_suffix(".tmp")
        temporary.write_text(json.dumps([target]))
        temporary.rename(self._targets)

    async def ready(self) -> None:
        """Wait until it answers queries.

        Raises:
            ChildFailedError: it ended, or took too long.
        """
        await self.child.ready(self._is_ready, _READY_SECONDS)

    async def _is_ready(self) -> bool:
        if self._client is None:
            ports = self.child.listens_on()
            if not ports:
                return False
            url = f"http://127.0.0.1:{next(iter(ports))}"
            self._client = httpx2.AsyncClient(base_url=url, timeout=_ASK_SECONDS, trust_env=False)
        try:
            return bool((await self._client.get("/-/ready")).is_success)
        except httpx2.TransportError:
            return False

    async def query(self, promql: str) -> list[dict[str, Any]]:
        """The result of an instant query: `[{"metric": {label: value}, "value": [seconds, text]}]`.

        Raises:
            httpx2.HTTPError: it does not answer, or not with 200.
        """
        assert self._client is not None, "Prometheus does not run"
        answer = await self._client.get("/api/v1/query", params={"query": promql})
        answer.raise_for_status()
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    async def scraped_at(self) -> float:
        """When it began the last good scrape it knows of, in seconds since 1970; 0 before the first."""
        # timestamp() tells a sample's own time only of a bare selector; of a comparison, the time of the query.
        result = await self.query(f'timestamp(up{{job="{JOB}"}}) and up{{job="{JOB}"}} == 1')
        return max((float(sample["value"][1]) for sample in result), default=0.0)

    async def scraped_after(self, moment: float) -> None:
        """Wait for a good scrape that began after that moment (seconds since 1970).

        Raises:
            TimeoutError: there was none within three intervals and some seconds.
        """
        async with asyncio.timeout(3 * self._scrape + _TARGET_SECONDS):
            while await self.scraped_at() <= moment:  # noqa: ASYNC110 - another process scrapes
                await asyncio.sleep(_POLL_SECONDS)

    async def stop(self) -> None:
        """End it; nothing if it does not run."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
        if self._child is not None:
            await self._child.stop()
