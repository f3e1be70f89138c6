"""What the API counts of itself, exported beside the other numbers of `telemetry.py`.

Routes are named by their template and callers not at all: what callers choose is no label.
"""

from prometheus_client import Counter, Gauge, Histogram

from rollout.telemetry import REGISTRY

ANSWERED = Counter(
    "rollout_http_requests", "Answers of the HTTP API.", ["method", "route", "status"], registry=REGISTRY
)
TOOK = Histogram(
    "rollout_http_request_seconds",
    "Time until an answer began.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=REGISTRY,
)
STREAMS = Gauge("rollout_http_streams", "Event streams and long polls that are open.", registry=REGISTRY)
