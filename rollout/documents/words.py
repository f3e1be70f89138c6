"""What `kubectl explain` says about each field, where the model's own schema does not say it.

Belongs here: a sentence per field that has none in its model, and those that stand below a field in the source. Does
not belong here: descriptions that models carry themselves, which win.
"""

import ast
import inspect
from functools import cache
from textwrap import dedent
from typing import Final

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

WORDS: Final = {
    "ReleaseSpec.service": "The Service whose traffic is shifted; in the namespace of this object. Immutable.",
    "ReleaseSpec.version": "The version to release: value of the pods' version label. Immutable.",
    "ReleaseSpec.promote": "End the hold of one step as soon as its checks pass.",
    "Source.actor": "Who or what asked for the release.",
    "Source.reason": "Why.",
    "Source.url": "The pipeline run, change or ticket behind it.",
    "Source.repository": "The repository of the pipeline.",
    "Approval.gate": "The gate that may pass, by its name in the policy.",
    "Wish.by": "Who wishes it; in the logs, in Events and in the outcome.",
    "Wish.at": "When; `resume` counts only if this is later than the edit of the route that it takes back.",
    "Wish.reason": "Why; in the logs, in Events and in the outcome.",
    "SkipWish.step": "The step that is meant, counted from 0; any other one keeps its hold.",
    "Status.phase": "Pending, Preparing, Shifting, Analysing, Finishing or RollingBack; at the end Promoted, "
    "RolledBack, Aborted or Failed.",
    "Status.reason": "Why it is in this phase, in one word for scripts.",
    "Status.message": "The same as a sentence.",
    "Status.observedGeneration": "The generation of the spec that the controller has seen.",
    "Status.conditions": "For `kubectl wait`: Progressing (moves by itself), Finished (over, however), Promoted "
    "(Unknown until it is over).",
    "Status.progress": "The current step and how many there are: 2/4.",
    "Status.service": "The service when the release began.",
    "Status.version": "The version when the release began.",
    "Status.stable": "The version that held the traffic when the release began.",
    "Status.step": "The current step, counted from 0.",
    "Status.startedAt": "When it began.",
    "Status.finishedAt": "When it ended.",
    "Status.addedDestination": "The canary's route entry was put in by the controller, and so may be taken out by it.",
    "Status.addedSubset": "The canary's subset was put in by the controller, and so may be taken out by it.",
    "Status.paused": "A person holds it.",
    "Status.verdicts": "What each check said at the last look.",
    "Status.steps": "The steps as they went.",
    "Condition.type": "Progressing, Finished or Promoted.",
    "Condition.status": "True, False or Unknown.",
    "Condition.reason": "Why, in one word for scripts.",
    "Condition.message": "Why, as a sentence.",
    "Condition.lastTransitionTime": "When `status` last changed.",
    "Condition.observedGeneration": "The generation of the spec that it speaks of.",
    "Route.percent": "The canary's share of the requests.",
    "Route.epoch": "The number of the order; a newer one wins.",
    "Confirmed.route": "The order.",
    "Confirmed.at": "Since when it has been seen on the mesh.",
    "Window.anchor": "What came after this time is counted.",
    "Window.counted": "What of it has been judged.",
    "Verdict.check": "Which check.",
    "Verdict.outcome": "pass, fail, unknown or unmeasured.",
    "Verdict.bad": "Bad requests of the canary.",
    "Verdict.requests": "Requests of the canary.",
    "Verdict.stableBad": "Bad requests of stable.",
    "Verdict.stableRequests": "Requests of stable.",
    "Verdict.convicts": "The evidence at which the release is rolled back.",
    "Drift.percent": "The canary's share that somebody else set.",
    "Drift.at": "Since when the controller knows.",
    "Cause.kind": "metrics, person or infrastructure.",
    "Cause.reason": "In one word for scripts.",
    "Cause.message": "As a sentence.",
    "StepRecord.weight": "The canary's share of the requests, in percent.",
    "StepRecord.since": "When it was seen on the mesh.",
    "StepRecord.until": "When the step was left.",
    "StepRecord.canaryRequests": "Requests that the canary served.",
    "StepRecord.canaryErrors": "How many of them failed.",
    "Notice.sequence": "Its number within the release.",
    "Notice.at": "When it happened.",
    "Notice.name": "Its name in the catalogue (docs/events.md).",
    "Notice.fields": "Its numbers and texts.",
}
"""Sentences by the name of a model and of its field in an object."""


def words_of(model: type[BaseModel] | None, field: str) -> str:
    """What is known about a field of a model; "" where nothing is."""
    if model is None:
        return ""
    for one in model.__mro__:
        if found := WORDS.get(f"{one.__name__}.{field}"):
            return found
    return _below_fields(model).get(field, "")


@cache
def _below_fields(model: type[BaseModel]) -> dict[str, str]:
    """The texts that stand right below the fields of a model in its source."""
    (tree,) = ast.parse(dedent(inspect.getsource(model))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(words))):
                found[to_camel(name)] = " ".join(words.split())
    return found
