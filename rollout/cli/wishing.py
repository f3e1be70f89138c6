"""`pause`, `resume`, `promote`, `abort`: find the release, write the wish, say what will come of it."""

from rollout import commands
from rollout.cli.exits import ExitCode
from rollout.cli.origin import actor_of
from rollout.cli.session import Access
from rollout.cli.terminal import say

_VERBS = {
    "pause": commands.pause,
    "resume": commands.resume,
    "promote": commands.promote,
    "abort": commands.abort,
}
_THEN = {
    "pause": "it stays at its weight until `rollout resume {0}`; checks go on",
    "resume": "it goes on",
    "promote": "it goes on as soon as every check passes",
    "abort": "all traffic goes back to stable; see it with `rollout wait {0}`",
}


async def wish(access: Access, word: str, subject: str, reason: str) -> ExitCode:
    """Write the wish `word` on the release; harmless to repeat. Raises Finished, Refused, Conflict, Outage."""
    release = await access.find(subject)
    await _VERBS[word](
        access.releases,
        access.clock,
        namespace=release.namespace,
        name=release.name,
        by=actor_of(access.surroundings.environ),
        reason=reason,
    )
    say(f"{release.name}: {word} asked for; {_THEN[word].format(release.name + access.elsewhere)}")
    return ExitCode.OK
