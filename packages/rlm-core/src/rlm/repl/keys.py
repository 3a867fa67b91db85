"""Key bindings of the prompt, in addition to those of prompt_toolkit."""

from __future__ import annotations

import codeop
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition, is_searching
from prompt_toolkit.key_binding import ConditionalKeyBindings, KeyBindings, KeyPressEvent
from prompt_toolkit.key_binding.key_bindings import KeyBindingsBase
from prompt_toolkit.keys import Keys

from rlm.repl.above import lent
from rlm.repl.terminal import View

LONG_PASTE = 8
"""Lines of a paste; a paste of at least this many is shown as its line count."""

_INDENT = "    "


class Actions(Protocol):
    """The actions of the keys on the input. All actions, also those of the view, return at once."""

    python: bool
    """Whether the prompt is a Python prompt."""

    def send(self, text: str, *, queued: bool = False) -> None:
        """Enter; `queued`: Alt+Enter while a turn is running."""
        ...


@dataclass(slots=True)
class Pastes:
    """Long pastes, by the placeholder that stands for each in the input."""

    texts: dict[str, str] = field(default_factory=dict)

    def shorten(self, text: str) -> str:
        """Return the placeholder for a paste; the text itself if it is short."""
        lines = text.count("\n") + 1
        if lines < LONG_PASTE:
            return text
        label = f"[{lines} lines]"
        count = 2
        while self.texts.get(label, text) != text:
            label = f"[{lines} lines, {count}]"
            count += 1
        self.texts[label] = text
        return label

    def whole(self, text: str) -> str:
        """Return the input with its placeholders replaced by the pastes."""
        for label, pasted in self.texts.items():
            text = text.replace(label, pasted)
        return text


def key_bindings(actions: Actions, view: View) -> KeyBindingsBase:
    """Build the key bindings. They are off during a history search, which has its own keys."""
    keys, pastes = KeyBindings(), Pastes()
    working = Condition(lambda: view.working)
    _bind_sending(keys, actions, pastes, working)
    _bind_editing(keys, actions, pastes, working)
    _bind_actions(keys, actions, view, working)
    return ConditionalKeyBindings(keys, ~is_searching)


def _bind_sending(keys: KeyBindings, actions: Actions, pastes: Pastes, working: Condition) -> None:
    def send(event: KeyPressEvent, *, queued: bool = False) -> None:
        buffer = event.current_buffer
        buffer.text = text = pastes.whole(buffer.text)
        pastes.texts.clear()
        buffer.append_to_history()
        buffer.reset()
        actions.send(text, queued=queued)

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if actions.python and is_unfinished(buffer):
            buffer.newline(copy_margin=True)
            above = buffer.document.lines[buffer.document.cursor_position_row - 1]
            buffer.insert_text(_INDENT if above.rstrip().endswith(":") else "")
        else:
            send(event)

    keys.add("escape", "enter", filter=working)(partial(send, queued=True))


def _bind_editing(keys: KeyBindings, actions: Actions, pastes: Pastes, working: Condition) -> None:
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=actions.python)

    keys.add("escape", "enter", filter=~working)(new_line)
    keys.add("c-j")(new_line)

    @keys.add(Keys.BracketedPaste)
    def _(event: KeyPressEvent) -> None:
        text = event.data.replace("\r\n", "\n").replace("\r", "\n")
        event.current_buffer.insert_text(pastes.shorten(text))

    @keys.add("c-g")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.text = pastes.whole(event.current_buffer.text)
        with lent():
            event.current_buffer.open_in_editor()

    @keys.add("tab", filter=Condition(lambda: actions.python) & Condition(_at_margin))
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text(_INDENT)


def _bind_actions(keys: KeyBindings, actions: Actions, view: View, working: Condition) -> None:
    @keys.add("c-c", filter=working)
    def _(_: KeyPressEvent) -> None:
        view.interrupt()

    @keys.add("c-c", filter=~working)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.reset()

    @keys.add("c-o")
    def _(_: KeyPressEvent) -> None:
        actions.python = not actions.python

    def unfold(_: KeyPressEvent, number: int) -> None:
        view.unfold(number)

    for digit in "123456789":
        keys.add("escape", digit)(partial(unfold, number=int(digit)))


def _at_margin() -> bool:
    """Whether only blanks stand before the cursor on its line, and the text before the cursor is not empty."""
    from prompt_toolkit.application import get_app

    document = get_app().current_buffer.document
    return not document.current_line_before_cursor.strip() and bool(document.text_before_cursor)


def is_unfinished(buffer: Buffer) -> bool:
    """Whether Enter adds a new line of Python: inside the text, or if the code is incomplete."""
    document = buffer.document
    if document.text_after_cursor.strip():
        return True
    if len(document.lines) > 1 and not document.current_line.strip():
        return False
    if document.text.startswith(("!", "/", "?")):
        return False
    if document.text.startswith("%"):
        return document.text.startswith("%%")
    try:
        return codeop.compile_command(document.text) is None
    except (SyntaxError, ValueError, OverflowError):
        return False  # let IPython report the error, if it is one
