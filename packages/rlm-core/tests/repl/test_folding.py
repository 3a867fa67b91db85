"""Long outputs are folded."""

from __future__ import annotations

import pytest
from rlm.repl.streamed import HEAD, KEPT, MARKS, TAIL, FoldableOutput, FoldedOutputs


def lines(start: int, end: int) -> str:
    return "".join(f"line {number}\n" for number in range(start, end))


@pytest.mark.parametrize("size", [1, 10, 1_000_000])
@pytest.mark.parametrize("count", [0, 1, HEAD, HEAD + TAIL])
def test_a_short_output_is_printed_whole(count: int, size: int) -> None:
    text, output = lines(0, count), FoldableOutput()
    printed = "".join(output.feed(text[start : start + size]) for start in range(0, len(text), size))
    assert printed + output.end() == text
    assert output.hidden == 0


def test_a_long_output_is_printed_as_head_and_tail() -> None:
    output = FoldableOutput()
    printed = output.feed(lines(0, 500)) + output.feed("the end")
    assert printed == lines(0, HEAD)
    assert output.end() == lines(498, 500) + "the end\n"
    assert output.hidden == 501 - HEAD - TAIL
    assert output.whole() == lines(0, 500) + "the end\n"


def test_a_progress_bar_is_its_last_state() -> None:
    output = FoldableOutput()
    assert output.feed(" 10 %\r 50 %") == ""
    assert output.feed("\r100 %\r\nnext\r\n") == "100 %\nnext\n"
    assert output.end() == ""


def test_memory_is_bounded() -> None:
    output = FoldableOutput()
    for _ in range(12):
        output.feed(f"{'x' * 9_999}\n" * (KEPT // 10_000))
    output.end()
    assert len(output.whole()) < 2.1 * KEPT
    assert "lines were dropped" in output.whole()
    assert output.hidden == 12 * (KEPT // 10_000) - HEAD - TAIL


def test_a_new_output_replaces_the_oldest() -> None:
    folded = FoldedOutputs()
    outputs = [FoldableOutput() for _ in range(MARKS + 1)]
    for number, output in enumerate(outputs):
        output.feed(f"output {number}\n")
    assert [folded.add(output) for output in outputs] == [*range(1, MARKS + 1), 1]
    assert folded.get(1) == f"output {MARKS}\n"
    assert folded.get(2) == "output 1\n"
    assert FoldedOutputs().get(1) is None
