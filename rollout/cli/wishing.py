"""`pause`, `resume`, `promote`, `abort`, `approve`: find the release, write the wish, say what will come of it."""

from rollout.cli.exits import ExitCode
from rollout.cli.origin import actor_of
from rollout.cli.session import Access
from rollout.cli.terminal import say
from rollout.desk import Verb, Wanted

_THEN: dict[Verb, str] = {
    "pause": "it stays at its weight until `rollout resume {0}`; checks go on",
    "resume": "it goes on",
    "promote": "it goes on as soon as every check passes",
    "abort": "all traffic goes back to stable; see it with `rollout wait {0}`",
    "approve": "it goes on as soon as nothing else stands in its way",
}


_LONGEST = 1024


def reason_of(text: str) -> str:
    """A reason as it can be kept: what is too long or no text is changed, because no brake may fail by its reason."""
    return text.encode("utf-8", "replace").decode()[:_LONGEST]


async def wish(access: Access, verb: Verb, subject: str, reason: str, gate: str = "") -> ExitCode:
    """Write the wish `verb` on the release; harmless to repeat. Raises Finished, Refused, Conflict, Outage."""
    release = await access.find(subject)
    by = actor_of(access.surroundings.environ)
    await access.desk.wish(Wanted(release.namespace, release.name, verb, by=by, reason=reason_of(reason), gate=gate))
    asked = f"approval of {gate}" if verb == "approve" else f"{verb} asked for"
    say(f"{release.name}: {asked}; {_THEN[verb].format(release.name + access.elsewhere)}")
    return ExitCode.OK
