"""Ways to keep the conversation within what the model takes."""

from __future__ import annotations

from rlm.clip import clip
from rlm.history import Entry, History
from rlm.messages import Kind, ToolResult, User
from rlm.ports import Context, Scribe

ASK = (
    "The conversation is getting too long, so its older turns will be dropped. Write a summary that lets you go on "
    "without them: what was asked, what you did and found, which files and variables matter, what is left to do. "
    "The newest turns, the kernel and its variables stay. Answer with the summary alone; call no tool."
)
SUMMARY = "Your summary of the turns that were dropped:\n\n{}\n\nGo on with the task."

FAT = 20_000
"""A tool result longer than this (characters) is cut before anything else when the context overflows."""
THIN = 4_000
"""What is left of it."""


class LastTurns:
    """Keeps the newest `keep` turns; older ones go whole."""

    def __init__(self, keep: int) -> None:
        self._keep = keep

    async def fit(self, scribe: Scribe) -> None:
        history = scribe.state.history
        old = history.live_turns()[: -self._keep]
        if old:
            scribe.drop(history.in_turns(old), "max_turns_in_context")

    async def shrink(self, _: Scribe) -> bool:
        return False


class Compact:
    """Lets the model summarise the older turns when the prompt reaches `at` tokens, or the provider says so."""

    def __init__(self, at: int | None = None, keep: int = 2) -> None:
        self._at = at
        self._keep = keep
        self._not_before = 0

    async def fit(self, scribe: Scribe) -> None:
        tokens = scribe.state.prompt_tokens
        if self._at is None or tokens < max(self._at, self._not_before):
            return
        if not await self._compact(scribe):
            self._not_before = tokens + tokens // 10  # nothing came of it: wait until there is more to drop

    async def shrink(self, scribe: Scribe) -> bool:
        """First the fat result that did it, for asking for a summary before that overflows again."""
        return _cut_fat_result(scribe) or await self._compact(scribe)

    async def _compact(self, scribe: Scribe) -> bool:
        history = scribe.state.history
        turns = history.live_turns()
        old = turns[: -self._keep] or turns[:-1]
        if not old:
            return False
        scribe.tell(User(ASK, Kind.ASK))
        reply = await scribe.ask_aside()
        scribe.drop(scribe.state.history.asides(), "summary_call")
        text = reply.message.text.strip()
        if not text or reply.finish != "stop":
            return False  # an empty or cut-off summary must not replace anything
        scribe.drop((*history.of_kind(Kind.SUMMARY), *history.in_turns(old)), "compaction")
        scribe.tell(User(SUMMARY.format(text), Kind.SUMMARY))
        return True


class Both:
    """One policy after the other."""

    def __init__(self, first: Context, second: Context) -> None:
        self._policies = (first, second)

    async def fit(self, scribe: Scribe) -> None:
        for policy in self._policies:
            await policy.fit(scribe)

    async def shrink(self, scribe: Scribe) -> bool:
        for policy in self._policies:
            if await policy.shrink(scribe):
                return True
        return False


def _cut_fat_result(scribe: Scribe) -> bool:
    fat = _fattest(scribe.state.history)
    if fat is None or not isinstance(fat.message, ToolResult) or len(fat.message.content) <= FAT:
        return False
    scribe.shorten(fat.number, clip(fat.message.content, THIN))
    return True


def _fattest(history: History) -> Entry | None:
    results = [e for e in history.entries if e.turn == history.turns and isinstance(e.message, ToolResult)]
    return max(results, key=lambda e: len(e.message.wire()["content"]), default=None)
