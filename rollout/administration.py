"""What an administrator sets up beyond flags, in one YAML: webhooks, Jobs, channels, links, who may call the API.

The model is the format (`kind: ControllerConfig`, `rollout serve --config FILE`, `rollout api --config FILE`). A policy
only ever names what is here, so that no service's YAML can make the controller call an address of its choice. Secrets
are files, read again whenever they are needed; none is ever in this document.
"""

from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from rollout.core.quantities import Duration, Label, Listed, Model

_SECOND, _LONGEST = timedelta(seconds=1), timedelta(minutes=5)
_URL = r"^https?://[^\s@]+$"
Url = Annotated[str, Field(pattern=_URL, max_length=2048)]


class Reach(Model):
    """Where a request of ours may go. Without `allow` only public addresses; redirects are never followed."""

    insecure: bool = Field(default=False, description="Whether http:// is allowed too.")
    allow: Listed[str] = Field(
        default=(), max_length=16, description="Networks, such as 10.0.0.0/8, that the host may be in."
    )
    ca_file: Path | None = Field(
        default=None, strict=False, description="PEM of the authority to trust here; else the system's."
    )

    @field_validator("allow")
    @classmethod
    def _are_networks(cls, allow: tuple[str, ...]) -> tuple[str, ...]:
        for one in allow:
            try:
                network = ip_network(one)
            except ValueError as error:
                raise ValueError(f"expected networks such as 10.0.0.0/8, not {one}: {error}") from error
            if network.prefixlen < (8 if network.version == 4 else 7):
                raise ValueError(f"expected networks of /8 (IPv6: /7) at the widest, not {one}")
        return allow


def _is_reachable(url: str | None, reach: Reach) -> None:
    """Raises ValueError, beginning with the field's name, where it is sure that no request will ever be made."""
    if url is not None and url.startswith("http:") and not reach.insecure:
        raise ValueError("url: expected https://, or reach.insecure: true")


class Webhook(Model):
    """Somebody who is asked whether a release may go on."""

    name: Label = Field(description="By which a gate of a policy names it, under `use`.")
    url: Url = Field(description="Where the question is posted.")
    secret_file: Path | None = Field(default=None, strict=False, description="Key of the HMAC that signs each body.")
    timeout: Duration = Field(default=timedelta(seconds=10), description="For one answer.")
    namespaces: Listed[Label] = Field(default=(), max_length=256, description="Whose policies may name it; empty: all.")
    reach: Reach = Field(default_factory=Reach)

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        if not _SECOND <= self.timeout <= _LONGEST:
            raise ValueError("timeout: expected a duration between 1s and 5m")
        _is_reachable(self.url, self.reach)
        return self


class JobTemplate(Model):
    """A Job that is run to find out: a load test, a smoke test."""

    name: Label = Field(description="By which a gate of a policy names it, under `use`.")
    template: dict[str, Any] = Field(description="spec of the Job (batch/v1), started in the release's namespace.")
    namespaces: Listed[Label] = Field(default=(), max_length=256, description="Whose policies may name it; empty: all.")

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        pod = self._within(self._within(self.template, "template"), "spec")
        containers = pod.get("containers")
        if not isinstance(containers, list) or not containers or not all(isinstance(one, dict) for one in containers):
            raise ValueError("template: expected a Job's spec, with containers under template.spec")
        every = [*containers, *(pod.get("initContainers") or [])]
        if not all(isinstance(one, dict) and isinstance(one.get("env", []), list) for one in every):
            raise ValueError("template: expected mappings as containers, and a list under env of each")
        keeps = self.template.get("ttlSecondsAfterFinished", 3600)
        if not isinstance(keeps, int) or keeps < 600:
            # Nobody may clean the answer away before it is read, not even while we are down for a while.
            raise ValueError("template: expected at least 600 under ttlSecondsAfterFinished")
        return self

    @staticmethod
    def _within(mapping: dict[str, Any], key: str) -> dict[str, Any]:
        inner = mapping.get(key)
        return inner if isinstance(inner, dict) else {}


Told = Literal["started", "steps", "ended", "trouble"]


class Channel(Model):
    """Where notices go."""

    name: Label = Field(description="By which a policy names it, under `notify`.")
    kind: Literal["slack", "teams", "webhook", "alertmanager", "pagerduty"] = Field(description="Who listens there.")
    url: Url | None = Field(default=None, description="The receiver's address; Slack and PagerDuty have their own.")
    url_file: Path | None = Field(default=None, strict=False, description="The same in a file, where it is a secret.")
    token_file: Path | None = Field(
        default=None, strict=False, description="Slack bot token, PagerDuty routing key, or a bearer token."
    )
    secret_file: Path | None = Field(default=None, strict=False, description="Key of the HMAC that signs each body.")
    channel: str = Field(default="", max_length=80, description="Slack channel id, with a bot token.")
    default: bool = Field(default=True, description="For every service whose policy names no channels.")
    namespaces: Listed[Label] = Field(default=(), max_length=256, description="Of whose releases; empty: all.")
    tell: Listed[Told] = Field(
        default=("started", "steps", "ended", "trouble"), min_length=1, max_length=4, description="What it hears of."
    )
    timeout: Duration = Field(default=timedelta(seconds=10), description="For one answer.")
    give_up: Duration = Field(default=timedelta(hours=1), description="For how long one notice is tried.")
    reach: Reach = Field(default_factory=Reach)

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Self:
        if self.url is not None and self.url_file is not None:
            raise ValueError("expected url or urlFile, not both")
        has_url = self.url is not None or self.url_file is not None
        if self.kind == "pagerduty" and self.token_file is None:
            raise ValueError("tokenFile: the routing key of a PagerDuty integration is needed")
        if self.kind == "slack" and not has_url and (self.token_file is None or not self.channel):
            raise ValueError("expected an incoming webhook (urlFile), or a bot token (tokenFile) and its channel")
        if self.kind in {"teams", "webhook", "alertmanager"} and not has_url:
            raise ValueError("expected url or urlFile")
        if not _SECOND <= self.timeout <= _LONGEST:
            raise ValueError("timeout: expected a duration between 1s and 5m")
        _is_reachable(self.url, self.reach)
        return self


class Links(Model):
    """Where people can look further: URLs with {namespace} {service} {version} {stable} {release} {query} {since}."""

    prometheus: str = Field(default="", max_length=2048, description="A graph of `{query}`.")
    grafana: str = Field(default="", max_length=2048, description="A dashboard.")
    kiali: str = Field(default="", max_length=2048, description="The service in Kiali.")
    traces: str = Field(default="", max_length=2048, description="A search for traces.")
    runbook: str = Field(default="", max_length=2048, description="What to do.")
    release: str = Field(default="", max_length=2048, description="The release itself, on a page of yours.")


_OF_EVERYBODY = frozenset({"https://token.actions.githubusercontent.com", "https://gitlab.com"})


class Issuer(Model):
    """Whose identity tokens of CI jobs are believed."""

    name: Label = Field(description="By which a policy names it, under `allowedTriggers`.")
    kind: Literal["github", "gitlab"] = Field(description="How its claims are called.")
    url: Url = Field(description="`iss` of its tokens, https://token.actions.githubusercontent.com or the GitLab's.")
    audience: str = Field(min_length=1, max_length=256, description="`aud` that its tokens must carry.")
    owners: Listed[Annotated[str, Field(pattern=r"^[0-9]{1,20}$")]] = Field(
        default=(),
        max_length=256,
        description="Ids of whose jobs are believed: GitHub's repository_owner_id, GitLab's namespace_id; all.",
    )
    jwks: Url | None = Field(default=None, description="Where its keys are; found by its discovery document.")
    reach: Reach = Field(default_factory=Reach)

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        _is_reachable(self.url, self.reach)
        return self

    @model_validator(mode="after")
    def _is_not_everybodys(self) -> Self:
        if self.url.rstrip("/") in _OF_EVERYBODY and not self.owners:
            raise ValueError("owners: anybody can get a token of this issuer; name the ids of your own organisations")
        return self


class Api(Model):
    """Who may call the HTTP API, and how much."""

    audience: str = Field(default="rollout", min_length=1, max_length=256, description="`aud` of Kubernetes tokens.")
    issuers: Listed[Issuer] = Field(default=(), max_length=16, description="CI systems whose jobs may call it.")
    per_minute: int = Field(default=300, ge=1, le=100_000, description="Requests of one identity.")
    burst: int = Field(default=60, ge=1, le=10_000, description="Of these at once.")
    streams: int = Field(default=20, ge=1, le=1000, description="Event streams and long polls of one identity at once.")

    @model_validator(mode="after")
    def _issuers_are_unique(self) -> Self:
        for what in ("name", "url"):
            if len({getattr(one, what) for one in self.issuers}) < len(self.issuers):
                raise ValueError(f"issuers: two have the same {what}")
        return self


class Limits(Model):
    """How much at once."""

    active_per_namespace: int | None = Field(default=None, ge=1, le=1000, description="Releases under way at once.")


class Settings(Model):
    """What is set up, all of it optional."""

    api: Api = Field(default_factory=Api)
    limits: Limits = Field(default_factory=Limits)
    webhooks: Listed[Webhook] = Field(default=(), max_length=64, description="Whom gates may ask.")
    jobs: Listed[JobTemplate] = Field(default=(), max_length=64, description="What gates may run.")
    channels: Listed[Channel] = Field(default=(), max_length=64, description="Where notices may go.")
    links: Links = Field(default_factory=Links)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what in ("webhooks", "jobs", "channels"):
            names = [one.name for one in getattr(self, what)]
            if len(set(names)) < len(names):
                raise ValueError(f"{what}: two have the same name")
        return self


class ControllerConfig(Model):
    """The whole document."""

    api_version: Literal["rollout.dev/v1alpha1"]
    kind: Literal["ControllerConfig"]
    spec: Settings = Field(default_factory=Settings)
