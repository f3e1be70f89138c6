"""Hours of a service's past, in a Prometheus in memory."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import Random

from rollout.core.policy import ISTIO_BUCKETS_MS
from tests.fakes.metrics import FakeMetrics, Proxy

SCRAPE = timedelta(seconds=15)
POLICY = """\
apiVersion: rollout.dev/v1alpha1
kind: ServicePolicy
metadata:
  name: checkout
  namespace: shop
spec:
  steps:
    - {weight: 20, hold: 1m}
    - {weight: 50, hold: 1m}
    - {weight: 100, hold: 1m}
  judge: {learn: 10m, warmUp: 15s}
"""
Share = Callable[[float], float]
"""Seconds before the end -> the canary's share of the requests."""


def nobody(_ago: float) -> float:
    return 0.0


def past(
    until: datetime,
    span: timedelta,
    *,
    requests: int = 300,
    pods: int = 0,
    canary: Share = nobody,
    canary_errors: float = 0.001,
) -> FakeMetrics:
    """`requests` to checkout per scrape, one in a thousand failed; counted by a gateway and the pods of v1."""
    rng = Random("past")
    gateway = Proxy("gateway", bounds=ISTIO_BUCKETS_MS)
    own = [Proxy(f"pod-{number}", bounds=ISTIO_BUCKETS_MS, reporter="destination") for number in range(pods)]
    prometheus = FakeMetrics(gateway, *own)
    size = round(span / SCRAPE)
    for index in range(size + 1):
        ago = (size - index) * SCRAPE.total_seconds()
        share = canary(ago)
        to_canary = sum(rng.random() < share for _ in range(requests))
        _serve([gateway], "checkout-v2", to_canary, canary_errors, rng)
        for counted in [[gateway, pod] for pod in own] or [[gateway]]:
            _serve(counted, "checkout-v1", (requests - to_canary) // max(1, pods), 0.001, rng)
        prometheus.scrape(until - timedelta(seconds=ago))
    return prometheus


def _serve(counted: Sequence[Proxy], workload: str, requests: int, errors: float, rng: Random) -> None:
    failed = sum(rng.random() < errors for _ in range(requests))
    slow = sum(rng.random() < 0.2 for _ in range(requests - failed))
    for proxy in counted:
        proxy.serve("checkout", workload, failed, code="503")
        proxy.serve("checkout", workload, slow, ms=80)
        proxy.serve("checkout", workload, requests - failed - slow, ms=20)
