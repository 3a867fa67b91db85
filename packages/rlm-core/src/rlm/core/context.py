"""Policies that keep the conversation within the model's context window."""

from __future__ import annotations

from collections.abc import Callable

from rlm.core.history import History
from rlm.core.messages import Ending, Kind, ToolResult, User, ending
from rlm.core.ports import Context, ConversationEditor
from rlm.errors import ContextTooLong, ModelError, ModelUnavailable
from rlm.text.clip import clip

ASK = (
    "The conversation is getting too long, so its older turns will be dropped. Write a summary that lets you go on "
    "without them: what was asked, what you did and found, which files and variables matter, what is left to do. "
    "The newest turns, the kernel and its variables stay. Answer with the summary alone; call no tool."
)
SUMMARY = "Your summary of the turns that were dropped:\n\n{}\n\nGo on with the task."

_NOT_COMPACTED = "The conversation was not compacted: {}"

LONG_RESULT = 20_000
"""If the context overflows, a tool result longer than this (characters) is truncated before anything else."""
SMALL_PROMPT = 2_000
"""Every model accepts a prompt of this many tokens."""
SHORTENED_RESULT = 4_000
"""The characters that are left of a result that was truncated."""


class LastTurns:
    """Keeps the newest `keep` turns and drops older turns whole."""

    def __init__(self, keep: int) -> None:
        self._keep = keep

    async def fit(self, editor: ConversationEditor) -> None:
        history = editor.state.history
        old = history.live_turns()[: -self._keep]
        if old:
            editor.drop(history.in_turns(old), "max_turns_in_context")

    async def shrink(self, _: ConversationEditor) -> bool:
        return False

    async def compact(self, _: ConversationEditor) -> bool:
        return False


class Compact:
    """Asks the model to summarise older turns when the prompt reaches `at` tokens or the provider finds it too long.

    If `at` is None, the threshold is 80 % of `window` (tokens), if that is known. Short prompts do not call `window`.
    """

    def __init__(self, at: int | None = None, keep: int = 2, window: Callable[[], int | None] = lambda: None) -> None:
        self._at = at
        self._window = window
        self._keep = keep
        self._not_before = 0
        self._compacted_in = -1  # the turn of the newest overflow for which a summary was requested

    async def fit(self, editor: ConversationEditor) -> None:
        tokens, at = editor.state.prompt_tokens, self._at
        if at is None:
            window = self._window() if tokens >= SMALL_PROMPT else None
            at = window * 4 // 5 if window else None
        if at is None or tokens < max(at, self._not_before):
            return
        try:
            await self._compact(editor)
        except ContextTooLong:
            pass  # the request of this turn comes next and will call `shrink`
        except ModelUnavailable:
            raise
        except ModelError as error:
            editor.report(_NOT_COMPACTED.format(error))
        # If the prompt is still too long, compacting again cannot help: wait until it has grown.
        self._not_before = editor.state.prompt_tokens * 11 // 10

    async def shrink(self, editor: ConversationEditor) -> bool:
        """Truncate a very long result first, because a request for a summary would overflow again.

        One overflow causes one request for a summary. If that did not help, drop the older turns without a summary.
        """
        if _shorten_longest_result(editor):
            return True
        turns = editor.state.history.turns
        if self._compacted_in == turns:
            return self._drop(editor, self._old(editor.state.history))
        self._compacted_in = turns
        return await self._compact_what_fits(editor)

    async def compact(self, editor: ConversationEditor) -> bool:
        try:
            return await self._compact_what_fits(editor)
        finally:
            self._not_before = editor.state.prompt_tokens * 11 // 10

    async def _compact_what_fits(self, editor: ConversationEditor) -> bool:
        """Compact. If the request for a summary is too long, drop the oldest turns without a summary until it fits."""
        shorter = False
        while True:
            try:
                return await self._compact(editor) or shorter
            except ModelUnavailable:
                raise
            except ContextTooLong:
                old = self._old(editor.state.history)
                shorter = self._drop(editor, old[: 1 + len(old) // 4])
            except ModelError as error:
                editor.report(_NOT_COMPACTED.format(error))
                return shorter

    async def _compact(self, editor: ConversationEditor) -> bool:
        history = editor.state.history
        old = self._old(history)
        summary = await _summary(editor) if old else ""
        if summary:  # append the summary before the drop, so that a crash between the two loses nothing
            editor.append(User(SUMMARY.format(summary), Kind.SUMMARY))
            editor.drop((*history.of_kind(Kind.SUMMARY), *history.in_turns(old)), "compaction")
        return summary != ""

    def _drop(self, editor: ConversationEditor, turns: list[int]) -> bool:
        if turns:
            editor.drop(editor.state.history.in_turns(turns), "context_limit")
        return bool(turns)

    def _old(self, history: History) -> list[int]:
        """Return the turns that may be dropped: all but the newest `keep`, or all but one if there are no more."""
        turns = history.live_turns()
        return turns[: -self._keep] or turns[:-1]


class Combined:
    """Applies one policy after the other."""

    def __init__(self, first: Context, second: Context) -> None:
        self._policies = (first, second)

    async def fit(self, editor: ConversationEditor) -> None:
        for policy in self._policies:
            await policy.fit(editor)

    async def shrink(self, editor: ConversationEditor) -> bool:
        for policy in self._policies:
            if await policy.shrink(editor):
                return True
        return False

    async def compact(self, editor: ConversationEditor) -> bool:
        done = [await policy.compact(editor) for policy in self._policies]
        return any(done)


async def _summary(editor: ConversationEditor) -> str:
    """Ask the model for a summary. The request and the reply leave the context again.

    Raises:
        ModelError: the reply is no summary.
    """
    editor.append(User(ASK, Kind.ASK))
    try:
        reply = await editor.side_request()
    finally:
        editor.retract()
    text = reply.message.text.strip()
    if ending(reply.finish) is not Ending.STOP:
        raise ModelError(f"the provider ended the summary: {reply.finish}")
    if reply.message.calls or editor.is_call(text):
        raise ModelError("the model called a tool instead of writing a summary")
    if not text:
        raise ModelError("the summary is empty")
    return text


def _shorten_longest_result(editor: ConversationEditor) -> bool:
    """Truncate the longest result of the newest turn if it is longer than `LONG_RESULT`. Return whether it was."""
    history = editor.state.history
    newest = (e for e in history.entries if e.turn == history.turns)
    results = ((e.number, e.message.content) for e in newest if isinstance(e.message, ToolResult))
    number, content = max(results, key=lambda result: len(result[1]), default=(0, ""))
    if len(content) > LONG_RESULT:
        editor.shorten(number, clip(content, SHORTENED_RESULT))
    return len(content) > LONG_RESULT
