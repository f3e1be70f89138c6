"""The state diagram, drawn from the table of transitions that the decisions are checked against."""

from rollout.core.release import Phase
from rollout.core.turn import TRANSITIONS


def state_diagram() -> str:
    """A mermaid diagram: one arrow per pair of phases, with every reason there is for it."""
    reasons: dict[tuple[Phase, Phase], list[str]] = {}
    for transition in TRANSITIONS:
        reasons.setdefault((transition.source, transition.target), []).append(transition.why)
    # A second colon or a semicolon ends a mermaid label.
    arrows = [
        f"    {source} --> {target}: {' / '.join(whys).replace(':', ',').replace(';', ',')}"
        for (source, target), whys in reasons.items()
    ]
    first, ends = next(iter(Phase)), [phase for phase in Phase if phase.terminal]
    lines = [f"    [*] --> {first}", *arrows, *(f"    {phase} --> [*]" for phase in ends)]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```"])
