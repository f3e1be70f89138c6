"""Our own logs and metrics: how a line looks, and which numbers we export.

JSON without a terminal, one object per line; a readable line with one. User text cannot break either: JSON escapes it,
and control characters are taken out before the console renders them. Exceptions are logged without local variables.
"""

import logging
import sys
import unicodedata
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from structlog.typing import Processor

REGISTRY = CollectorRegistry()
"""Not the global one: what we export is exactly what stands below."""

WEIGHT = Gauge(
    "rollout_weight_percent", "The canary's share of the requests.", ["namespace", "service"], registry=REGISTRY
)
FINISHED = Counter(
    "rollout_releases_finished", "Releases by outcome.", ["namespace", "service", "phase", "reason"], registry=REGISTRY
)
EVENTS = Counter("rollout_events", "Events by name.", ["event", "level"], registry=REGISTRY)
RECONCILE = Histogram(
    "rollout_reconcile_seconds",
    "Time of one cycle.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=REGISTRY,
)
CYCLES_FAILED = Counter("rollout_reconcile_failures", "Cycles that ended in an error.", ["kind"], registry=REGISTRY)
POLICIES_INVALID = Gauge(
    "rollout_policy_files_invalid", "Policy files whose present content is bad.", registry=REGISTRY
)
POLICIES_LOADED = Gauge("rollout_policies", "Policies in force.", registry=REGISTRY)
LEADER = Gauge("rollout_leader", "1 where this controller leads its shard, 0 where it stands by.", registry=REGISTRY)
LEADER_CHANGES = Counter(
    "rollout_leader_changes", "Times that this controller came to lead, or ceased to.", ["change"], registry=REGISTRY
)


def clean(text: str) -> str:
    """Text without control, format (bidi) and line-separating characters: one line stays one line."""
    return "".join(" " if unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} else char for char in text)


def _scrub(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take control characters out of every string, for the console, which would print them."""
    return {key: clean(value) if isinstance(value, str) else value for key, value in event.items()}


def configure(log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Set logging up, once, for us and for every library: one format, on one stream (stderr)."""
    stream = stream or sys.stderr
    console = log_format == "console" or (log_format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    ]
    without_locals = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
    renderer: list[Processor] = (
        [_scrub, structlog.dev.ConsoleRenderer(timestamp_key="ts", exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.ExceptionRenderer(without_locals), structlog.processors.JSONRenderer(default=str)]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("apscheduler", "urllib3", "aiohttp", "kubernetes", "asyncio", "uvicorn", "httpx2", "httpcore2"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
