"""What `kubectl wait` can wait for: the conditions of a Release, and its place among the steps in two numbers.

Types and fields as `metav1.Condition` (k8s.io/apimachinery/pkg/apis/meta/v1/types.go). `Promoted` is Unknown until it
is settled, so that both `condition=Promoted` and `condition=Promoted=false` wait for an outcome and not for a start.
"""

from datetime import datetime

from rollout.core.release import Condition, Phase, Reason, Status

_HELD = frozenset({Reason.PAUSED, Reason.DRIFTED, Reason.STUCK, Reason.WAITING_FOR_APPROVAL})
"""Nothing moves before somebody does something."""


def conditions(status: Status, now: datetime) -> tuple[Condition, ...]:
    """Progressing, Finished and Promoted as they are now; each keeps the time at which its answer last changed."""
    over, promoted = status.phase.terminal, status.phase is Phase.PROMOTED
    moving = not over and status.reason not in _HELD
    outcome = "True" if promoted else "False" if over else "Unknown"
    reason = status.reason or status.phase.value
    known = {one.type: one for one in status.conditions}
    made = []
    for kind, answer in (("Progressing", str(moving)), ("Finished", str(over)), ("Promoted", outcome)):
        old = known.get(kind)
        condition = Condition.model_validate(
            {
                "type": kind,
                "status": answer,
                "reason": reason if over or kind == "Progressing" else status.phase.value,
                "message": status.message if over or kind == "Progressing" else "",
                "last_transition_time": old.last_transition_time if old is not None and old.status == answer else now,
                "observed_generation": status.observed_generation,
            }
        )
        made.append(condition)
    return tuple(made)


def progress(status: Status) -> str:
    """`2/4` at the second of four steps; empty before a policy is frozen."""
    if status.policy is None:
        return ""
    return f"{0 if status.step is None else status.step + 1}/{len(status.policy.steps)}"
