"""At the prompt, diffs that cells print and changes of `edit` are coloured."""

from __future__ import annotations

import json

from rlm.repl.screen import ReplScreen
from rlm.repl.streamed import HEAD
from rlm.sessions.records import CellEndRecord, CellOutputRecord, CellStartRecord


def output_of(tool: str, arguments: dict[str, str], *printed: str) -> str:
    put: list[str] = []
    screen = ReplScreen(put.append, lambda: (80, 24), color=True)
    screen.show(CellStartRecord(1.0, "c", tool, json.dumps(arguments)))
    for text in printed:
        screen.show(CellOutputRecord(1.0, "c", text))
    screen.show(CellEndRecord(2.0, "c", tool, True, 1.0))
    return "".join(put)


def test_a_diff_is_coloured_as_it_comes_and_counted_where_it_is_folded() -> None:
    added = "".join(f"+new {number}\n" for number in range(2 * HEAD))
    output = output_of("bash", {"command": "git diff"}, f"--- a\n+++ b\n@@ -1 +1,{2 * HEAD} @@\n-o", f"ld\n{added}")
    assert "  \x1b[31m-old\x1b[0m\n  \x1b[32m+new 0\x1b[0m\n" in output
    assert f"opens them below · diff: 1 file +{2 * HEAD} −1" in output


def test_a_change_of_edit_is_a_diff() -> None:
    output = output_of("edit", {"path": "a.py", "old_str": "x\ny", "new_str": "x\nz"})
    edge = "\x1b[2m     ▏ \x1b[0m"
    assert f"{edge} x\n{edge}\x1b[31m-y\x1b[0m\n{edge}\x1b[32m+z\x1b[0m\n" in output
    assert '"path": "a.py"' in output_of("edit", {"path": "a.py"})
