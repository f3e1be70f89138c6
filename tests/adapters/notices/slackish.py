"""Slack as far as notices need it: messages, threads, metadata, searched as conversations.history and .replies do."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from tests.adapters.notices.receiver import Got, Say


@dataclass
class Slack:
    """One workspace. `may_read`: whether the token has the scope to search a channel."""

    may_read: bool = True
    messages: list[dict[str, Any]] = field(default_factory=list)
    """What stands in all channels, oldest first; with `ts`, and `thread_ts` where it is a reply."""
    updates: int = 0

    def answer(self, got: Got) -> Say:
        """What Slack says."""
        method = got.path.rsplit("/", 1)[-1]
        if method == "chat.postMessage":
            message = {**got.json, "ts": f"{1_700_000_000 + len(self.messages)}.000100"}
            self.messages.append(message)
            return Say(body={"ok": True, "ts": message["ts"], "channel": got.json["channel"]})
        if method == "chat.update":
            return self._update(got.json)
        if not self.may_read:
            return Say(body={"ok": False, "error": "missing_scope"})
        asked = {name: values[0] for name, values in parse_qs(got.body.decode()).items()}
        return Say(body={"ok": True, "messages": self._found(asked)})

    def _update(self, content: dict[str, Any]) -> Say:
        for message in self.messages:
            if (message["channel"], message["ts"]) == (content["channel"], content["ts"]):
                message.update(content)
                self.updates += 1
                return Say(body={"ok": True, "ts": content["ts"]})
        return Say(body={"ok": False, "error": "message_not_found"})

    def _found(self, asked: dict[str, str]) -> list[dict[str, Any]]:
        if "ts" in asked:
            wanted = {asked["ts"]}
            return [one for one in self.messages if {one["ts"], one.get("thread_ts")} & wanted]
        return [one for one in self.messages if "thread_ts" not in one]

    def keys(self) -> list[str]:
        """The keys that messages carry, in the order of their posting."""
        return [message["metadata"]["event_payload"]["key"] for message in self.messages]
