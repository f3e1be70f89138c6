"""Where people can look further: the administrator's templates, filled for one release.

Belongs here: what may be filled in, how it is quoted, and that only links that lead somewhere are shown. Does not
belong here: how a channel shows a link.

Values come from releases, which CI and people write: each is quoted to the last character, so that it can change
neither the host nor the path of a template. A link that somebody gave with a release is shown only if it is http(s).
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from rollout.administration import Links
from rollout.core.release import Release

_HOLE: Final = re.compile(r"\{([a-z]+)\}")
_LONGEST: Final = 2000
"""Characters of a link; Slack's buttons and some browsers take no more."""
_LONGEST_QUERY: Final = 1500
_NOT_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f-\U0010ffff\"<>\\^`{|}]")
"""What RFC 3986 lets stand in no URL."""
_TITLES: Final = (
    ("release", "Release"),
    ("prometheus", "Prometheus"),
    ("grafana", "Grafana"),
    ("kiali", "Kiali"),
    ("traces", "Traces"),
    ("runbook", "Runbook"),
)


@dataclass(frozen=True, slots=True)
class Link:
    """One way to look further."""

    name: str
    """For machines: prometheus, grafana, kiali, traces, runbook, release, ci."""
    title: str
    url: str
    """http or https; holds no character that RFC 3986 forbids."""


def links_of(release: Release, templates: Links) -> tuple[Link, ...]:
    """The links for a release as it stands; a template with a value that is not known yet is left out."""
    values = _values(release)
    found = [
        Link(name, title, url)
        for name, title in _TITLES
        if (url := _filled(getattr(templates, name), values)) is not None
    ]
    if (url := checked(release.spec.source.url)) is not None:
        found.append(Link("ci", "CI run", url))
    return tuple(found)


def checked(url: str) -> str | None:
    """A URL that can be shown: http or https with a host, no credentials, of a bearable length; else None."""
    if not 0 < len(url) <= _LONGEST or _NOT_IN_URLS.search(url):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc:
        return None
    return url


def _values(release: Release) -> dict[str, str]:
    status, spec = release.status, release.spec
    began = status.started_at or release.created_at
    query = status.query
    return {
        "namespace": release.namespace,
        "service": status.service or spec.service,
        "version": status.version or spec.version,
        "stable": status.stable or "",
        "release": release.name,
        "query": query if len(query) <= _LONGEST_QUERY else "",
        "since": str(round(began.timestamp() * 1000)) if began is not None else "",
    }


def _filled(template: str, values: dict[str, str]) -> str | None:
    names = _HOLE.findall(template)
    if not all(values.get(name) for name in names):
        return None
    return checked(_HOLE.sub(lambda hole: quote(values[hole[1]], safe=""), template))
