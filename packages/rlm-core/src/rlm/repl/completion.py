"""Tab completion at the prompt: commands, `@files`, and names and attributes of the kernel."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

if TYPE_CHECKING:
    from rlm.kernel import JupyterKernel


_COMMAND = re.compile(r"/[a-z]*")
_FILE = re.compile(r'(?:^|(?<=\s))@"?([^\s"]*)$')
_VARIABLE = re.compile(r"\$`([^`\n]*)$")
_CODE = re.compile(r"(?:>>?\s*|!!?|%%?|\?)")
MOST_FILES = 200


class PromptCompleter(Completer):
    """
    Args:
        commands: the commands after `/`, with their descriptions.
        cwd: the folder of `@` names.
        kernel: the agent's kernel, once it exists.
        python: whether the prompt is a Python prompt.
    """

    def __init__(
        self,
        commands: Mapping[str, str],
        cwd: Path,
        kernel: Callable[[], JupyterKernel | None],
        python: Callable[[], bool],
    ) -> None:
        self._commands = commands
        self._cwd = cwd
        self._kernel = kernel
        self._python = python

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:  # noqa: ARG002
        """Completions that need no kernel. Only the asynchronous form asks the kernel."""
        text = document.text_before_cursor
        if _COMMAND.fullmatch(text):
            for name, about in self._commands.items():
                if f"/{name}".startswith(text):
                    yield Completion(f"/{name}", -len(text), display_meta=about)
        elif found := _FILE.search(text):
            yield from self._files(found[1])

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        for completion in self.get_completions(document, complete_event):
            yield completion
        code, kernel = self._code(document), self._kernel()
        if code is None or kernel is None:
            return
        found = await kernel.complete(code, len(code))
        for match in found.matches:
            yield Completion(match, found.start - len(code))

    def _code(self, document: Document) -> str | None:
        """The Python code before the cursor; None if there is none."""
        text = document.text_before_cursor
        if variable := _VARIABLE.search(text):
            return variable[1]
        if self._python():
            return text
        prefix = _CODE.match(text)
        if prefix is None:
            return None
        return text if text[0] in "%?" else text[prefix.end() :] if text[0] == ">" else "!" + text.lstrip("!")

    def _files(self, typed: str) -> Iterator[Completion]:
        folder, _, start = typed.rpartition("/")
        place = self._cwd / Path(folder + "/" if folder or typed.startswith("/") else ".").expanduser()
        try:
            with os.scandir(place) as entries:
                found = sorted(
                    (entry.name + ("/" if entry.is_dir() else ""))
                    for entry in entries
                    if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith("."))
                )
        except OSError:
            return
        for name in found[:MOST_FILES]:
            yield Completion(name, -len(start))
