"""Streamed text is divided into complete blocks of Markdown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.repl.streamed import BlockReader

TEXT = "# Title\n\nOne line\nand another\n\n```python\na = 1\n\nb = 2\n```\nafter\n\n~~~~\n```\n~~~\n~~~~\nend"
BLOCKS = ["# Title", "One line\nand another", "```python\na = 1\n\nb = 2\n```", "after", "~~~~\n```\n~~~\n~~~~", "end"]


@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_blocks_are_the_same_however_a_text_comes(size: int) -> None:
    reader = BlockReader()
    pieces = [TEXT[start : start + size] for start in range(0, len(TEXT), size)]
    blocks = [block for piece in pieces for block in reader.feed(piece)]
    assert [*blocks, reader.end()] == BLOCKS
    assert reader.unfinished == ""


def test_a_fence_that_never_ends_is_the_rest() -> None:
    reader = BlockReader()
    assert reader.feed("before\n```\na\n\nb") == ["before"]
    assert reader.unfinished == "```\na\n\nb"
    assert reader.end() == "```\na\n\nb"
    assert reader.feed("x\n\n") == ["x"], "the next text starts from nothing"


@given(st.lists(st.text("ab`~ \n", max_size=12), max_size=12))
def test_no_character_but_blank_lines_is_lost(pieces: list[str]) -> None:
    reader = BlockReader()
    blocks = [block for piece in pieces for block in reader.feed(piece)]
    lines_in = [line for line in "".join(pieces).split("\n") if line.strip()]
    lines_out = [line for line in "\n".join([*blocks, reader.end()]).split("\n") if line.strip()]
    assert lines_out == lines_in
