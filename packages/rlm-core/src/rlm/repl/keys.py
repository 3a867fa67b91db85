"""The keys of the prompt, besides those of prompt_toolkit itself."""

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

LONG_PASTE = 8
"""Lines of a paste from which on it shows as how many they are."""

_INDENT = "    "


class Actions(Protocol):
    """What the keys do. Each returns at once."""

    python: bool
    """It is a Python prompt."""

    @property
    def working(self) -> bool:
        """Whether a turn or a cell is under way."""
        ...

    def send(self, text: str, *, queued: bool = False) -> None:
        """Enter; `queued`: Alt+Enter while a turn is under way."""
        ...

    def interrupt(self) -> None:
        """Ctrl-C while something is under way."""
        ...

    def unfold(self, number: int) -> None:
        """Alt and a digit: print a long output whole."""
        ...


@dataclass(slots=True)
class Pastes:
    """Long pastes, by the words that stand for them in the input."""

    texts: dict[str, str] = field(default_factory=dict)

    def shorten(self, text: str) -> str:
        """The words for a paste; the text itself if it is short."""
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
        """The input with the pastes in it."""
        for label, pasted in self.texts.items():
            text = text.replace(label, pasted)
        return text


def key_bindings(actions: Actions) -> KeyBindingsBase:
    """They do not apply while the history is searched, which has keys of its own."""
    keys, pastes = KeyBindings(), Pastes()
    working = Condition(lambda: actions.working)
    _bind_sending(keys, actions, pastes, working)
    _bind_editing(keys, actions, pastes)
    _bind_actions(keys, actions, working)
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
            buffer.insert_text(_indentation(buffer))
        else:
            send(event)

    keys.add("escape", "enter", filter=working)(partial(send, queued=True))


def _bind_editing(keys: KeyBindings, actions: Actions, pastes: Pastes) -> None:
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=actions.python)

    keys.add("escape", "enter", filter=~Condition(lambda: actions.working))(new_line)
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


def _bind_actions(keys: KeyBindings, actions: Actions, working: Condition) -> None:
    @keys.add("c-c", filter=working)
    def _(_: KeyPressEvent) -> None:
        actions.interrupt()

    @keys.add("c-c", filter=~working)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.reset()

    @keys.add("c-o")
    def _(_: KeyPressEvent) -> None:
        actions.python = not actions.python

    def unfold(_: KeyPressEvent, number: int) -> None:
        actions.unfold(number)

    for digit in "123456789":
        keys.add("escape", digit)(partial(unfold, number=int(digit)))


def _at_margin() -> bool:
    """Only blanks stand before the cursor on its line, and there are lines above, or it is the first of a cell."""
    from prompt_toolkit.application import get_app

    document = get_app().current_buffer.document
    return not document.current_line_before_cursor.strip() and bool(document.text_before_cursor)


def _indentation(buffer: Buffer) -> str:
    """What a new line begins with, besides what the one before it does."""
    above = buffer.document.lines[buffer.document.cursor_position_row - 1]
    return _INDENT if above.rstrip().endswith(":") else ""


def is_unfinished(buffer: Buffer) -> bool:
    """Whether Enter begins a new line of Python: within the text, or where more must come."""
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
        return False  # IPython says what is wrong, or knows better
