"""The fold of all events so far into a state. The loop, resume and export all use `ConversationState.after`."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field
from msgspec.structs import replace

from rlm.core.budget import Spent
from rlm.core.events import Adapted, Answered, Dropped, Event, Replied, Said, ToolReturned
from rlm.core.history import History
from rlm.core.messages import Ending, Kind, Reply, User, ending


class ConversationState(Struct, frozen=True):
    """`answer` is the model's newest text since the newest task, or the answer that was given in another way.

    `cut`: the model stopped in the middle of it.
    """

    history: History = field(default_factory=History)
    spent: Spent = field(default_factory=Spent)
    answer: str = ""
    cut: bool = False

    def after(self, event: Event) -> ConversationState:
        """Return the state after one more event."""
        match event:
            case Said(User(kind=Kind.TASK) as task, anew=False):
                return replace(self, history=self.history.add(task), answer="", cut=False)
            case Replied(reply, aside):
                return self._after_aside(reply) if aside else self._after_turn(reply)
            case Answered(answer):
                return replace(self, answer=answer, cut=False)
            case Said(message) | ToolReturned(message):
                history = self.history.add(message)
            case Dropped():
                history = self.history.drop(event.numbers, event.summary, event.left)
            case Adapted():
                history = self.history.adapted(event.adaptations)
            case _:
                return self
        return replace(self, history=history)

    def _after_aside(self, reply: Reply) -> ConversationState:
        history = self.history.add(reply.message, aside=True)
        return replace(self, history=history, spent=replace(self.spent, usage=self.spent.usage + reply.usage))

    def _after_turn(self, reply: Reply) -> ConversationState:
        message, usage = reply.message, reply.usage
        text = message.text if message.text.strip() else ""  # blanks are no text
        return ConversationState(
            self.history.add(message),
            Spent(self.spent.turns + 1, self.spent.usage + usage, usage.prompt, self.history.size),
            answer=self.answer + text if self.cut else text or self.answer,
            cut=ending(reply.finish) is Ending.LENGTH and text != "" and not message.calls,
        )

    @property
    def prompt_tokens(self) -> int:
        """An estimate of the tokens of the next prompt, from the newest counted prompt; 0 if none was counted yet."""
        spent = self.spent
        return round(spent.prompt * self.history.size / spent.prompt_size) if spent.prompt_size else 0


def replay(events: Iterable[Event], start: ConversationState | None = None) -> ConversationState:
    """Fold `events`. Invariant: the result equals the state of the agent that emitted them."""
    state = start or ConversationState()
    for event in events:
        state = state.after(event)
    return state
