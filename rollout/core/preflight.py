"""What was found around a route before a release begins: errors keep it from starting, warnings are told.

Belongs here: what a finding says, and what follows from all of them. Does not belong here: how anything is found
(`adapters/preflight/`).
"""

from dataclasses import dataclass
from typing import Literal

from rollout.core.policy import PolicySpec

MOST_TOLD = 20
"""Findings of one release that are announced; a mesh with more is broken in ways that a list does not mend."""

Severity = Literal["error", "warning", "info"]
VersionLabel = Literal["destination_workload", "destination_canonical_revision", "destination_version"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is, or may be, wrong."""

    code: str
    """Stable and for machines: `subset-shadowed`."""
    severity: Severity
    object: str
    """What to change: `DestinationRule web/checkout`."""
    message: str
    """What is the case and what comes of it, one sentence without a full stop."""
    action: str
    """What to do."""
    link: str
    """Where it is explained."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found, and the label that tells the versions apart in the metrics."""

    findings: tuple[Finding, ...] = ()
    version_label: VersionLabel | None = None
    """None where the series do not tell."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What keeps a release from starting."""
        return tuple(one for one in self.findings if one.severity == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What a release starts in spite of."""
        return tuple(one for one in self.findings if one.severity == "warning")

    def applied(self, policy: PolicySpec) -> PolicySpec:
        """The policy with the label that was chosen, where it leaves the choice to us."""
        if policy.metrics.version_label != "auto":
            return policy
        chosen = policy.metrics.model_copy(update={"version_label": self.version_label or policy.metrics.series_label})
        return policy.model_copy(update={"metrics": chosen})
