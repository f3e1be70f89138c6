"""What the controller is told when it starts: one frozen model, from flags or from `ROLLOUT_*` variables."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from rollout.core.lease import Timing

LISTEN = re.compile(r"|[^\s:]*:[0-9]{1,5}|\[[0-9a-fA-F:]+\]:[0-9]{1,5}")
PROMETHEUS = re.compile(r"https?://[^\s]+")
MATCHER = re.compile(r'_?[a-zA-Z][a-zA-Z0-9_]*="[^"\\\x00-\x1f\x7f]+"')
"""One PromQL matcher that cannot be anything else: no escapes, no regular expression, no name of a metric."""


class Settings(BaseModel):
    """How `rollout serve` runs. Nothing here is about a single service; that is the policy's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kubeconfig: Path | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    """Namespaces to watch; empty for all."""
    prometheus: str = Field(default="http://prometheus.istio-system:9090", pattern=f"^({PROMETHEUS.pattern})$")
    prometheus_token_file: Path | None = None
    """A bearer token, read again for every request, so that a rotated one is used at once."""
    prometheus_timeout_s: float = Field(default=3.0, gt=0, le=60)
    prometheus_matchers: tuple[Annotated[str, Field(pattern=f"^({MATCHER.pattern})$")], ...] = ()
    """Added to every selector of ours, where one Prometheus (Thanos, Mimir) holds several clusters."""
    cluster_domain: str = "cluster.local"
    policies: Path = Path("/etc/rollout/policies")
    config: Path | None = None
    """A ControllerConfig: webhooks, Jobs, channels, links, limits; without it there are none."""
    lease: Timing | None = Timing()
    """How the Lease is held that keeps a second controller from acting; None for a controller that is the only one."""
    lease_namespace: str | None = None
    """Where the Lease is; else the namespace of the kubeconfig's context, or the pod's own."""
    listen: str = Field(default="127.0.0.1:8080", pattern=f"^({LISTEN.pattern})$")
    """Where /livez, /readyz and /metrics are served; an empty string serves none."""
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class ApiSettings(BaseModel):
    """How `rollout api` runs. Who may call it, and how much, is in the ControllerConfig."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kubeconfig: Path | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    """Namespaces that are served; empty for all."""
    home: str | None = None
    """The controller's namespace, where a freeze of everything is; else the context's, or the pod's own."""
    listen: str = Field(default="127.0.0.1:8443", pattern=f"^({LISTEN.pattern})$", min_length=1)
    metrics_listen: str = Field(default="127.0.0.1:8081", pattern=f"^({LISTEN.pattern})$")
    """Where /metrics, /livez and /readyz are served without a token; an empty string serves none."""
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    """Certificate chain and key, PEM, read again when they change; without both it is plain HTTP."""
    config: Path | None = None
    """A ControllerConfig: issuers of CI tokens, audience, limits."""
    policies: Path = Path("/etc/rollout/policies")
    prometheus: str = Field(default="http://prometheus.istio-system:9090", pattern=f"^({PROMETHEUS.pattern})$")
    prometheus_token_file: Path | None = None
    prometheus_timeout_s: float = Field(default=3.0, gt=0, le=60)
    prometheus_matchers: tuple[Annotated[str, Field(pattern=f"^({MATCHER.pattern})$")], ...] = ()
    cluster_domain: str = "cluster.local"
    """The last four as in `Settings`: for preflight."""
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
