"""The meaning of each input at the prompt."""

from __future__ import annotations

import pytest
from rlm.repl.inputs import Cell, Command, Input, Task, read_input


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("", None),
        (" \n ", None),
        ("fix the tests", Task("fix the tests")),
        ("fix the tests\n  and docs\n", Task("fix the tests\n  and docs")),
        ("!ls -l", Cell("!ls -l")),
        ("!! ls", Cell("!ls", told=False)),
        ("> 1 + 1", Cell("1 + 1")),
        (">df.head()", Cell("df.head()")),
        (">>del df", Cell("del df", told=False)),
        ("!", Task("!")),
        (">", Task(">")),
        ("%time f()", Cell("%time f()")),
        ("%%bash\nls", Cell("%%bash\nls")),
        ("100% of it", Task("100% of it")),
        ("% of what?", Task("% of what?")),
        ("df?", Cell("df?")),
        ("df.head??", Cell("df.head??")),
        ("df['a'].mean?", Cell("df['a'].mean?")),
        ("?df", Cell("?df")),
        ("%time?", Cell("%time?")),
        ("why?", Task("why?")),
        ("why is df empty?", Task("why is df empty?")),
        ("/help", Command("help")),
        (" /model gpt-6 ", Command("model", "gpt-6")),
        ("/edit 3", Command("edit", "3")),
        ("/nonsense", Command("nonsense")),
        ("/etc/passwd is odd", Task("/etc/passwd is odd")),
        ("/tmp", Command("tmp")),
    ],
)
def test_each_input_has_its_meaning(text: str, meaning: Input | None) -> None:
    assert read_input(text, names={"df"}) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("1 + 1", Cell("1 + 1")), ("if x:\n    y\n", Cell("if x:\n    y")), ("/quit", Command("quit")), ("", None)],
)
def test_each_input_has_its_meaning_at_a_python_prompt(text: str, meaning: Input | None) -> None:
    assert read_input(text, python=True) == meaning
