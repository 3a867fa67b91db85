"""A session as training data: what the model saw, and what it said to it, word for word.

One JSON line per segment. A segment is a conversation that only grew: each request in it is the one before, that one's
reply, and something more. Where messages left the context, or the tools or the model changed, a new segment begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from rlm.messages import Usage, Wire
from rlm.session.codec import Record, usage_read, usage_wire
from rlm.session.store import SessionTree


@dataclass(slots=True)
class Segment:
    """`seen` are the ids of the messages up to the newest completion."""

    request: Record
    messages: list[Wire] = field(default_factory=list)
    seen: list[int] = field(default_factory=list)
    completions: list[Record] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def grows_to(self, prompt: list[int], request: Record) -> bool:
        same = self.request.get("tools") == request.get("tools") and self.request.get("model") == request.get("model")
        return same and prompt[: len(self.seen)] == self.seen

    def add(self, prompt: dict[int, Wire], record: Record) -> None:
        self.messages += list(prompt.values())[len(self.seen) :]
        self.completions.append(
            {"index": len(self.messages), "usage": record["usage"], "finish_reason": record["finish_reason"]}
        )
        self.messages.append(record["message"])
        self.seen = [*prompt, record["id"]]
        self.usage += usage_read(record["usage"])


def segments(tree: SessionTree) -> list[Segment]:
    """Of one agent."""
    live: dict[int, Wire] = {}
    request: Record = {}
    found: list[Segment] = []
    for record in tree.records():
        match record["type"], record.get("message", {}).get("role"):
            case "request", _:
                request = record
            case "drop", _:
                live = {id: message for id, message in live.items() if id not in record["ids"]}
            case "message", role:
                if role == "assistant":
                    if not found or not found[-1].grows_to(list(live), request):
                        found.append(Segment(request))
                    found[-1].add(live, record)
                live[record["id"]] = record["message"]
    return found


def chat(tree: SessionTree) -> str:
    """Every segment of every agent."""
    return "".join(json.dumps(line) + "\n" for agent in tree.walk() for line in _lines(agent))


def _lines(tree: SessionTree) -> Iterator[Record]:
    for number, segment in enumerate(segments(tree)):
        yield {
            "messages": segment.messages,
            "completions": segment.completions,
            "tools": segment.request.get("tools", []),
            "model": segment.request.get("model", tree.meta.model),
            "params": segment.request.get("params", {}),
            "usage": usage_wire(segment.usage),
            "session": tree.meta.session_id,
            "agent": tree.agent,
            "segment": number,
            "status": tree.meta.status,
            "stop_reason": tree.meta.stop_reason,
            "reward": None,
        }
