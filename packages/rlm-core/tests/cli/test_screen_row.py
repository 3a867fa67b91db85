"""One line of the screen: which characters it may contain, and how wide it is."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.present.describe import first_line
from rlm.present.humanize import count, seconds, short
from rlm.present.live.row import Row, fit, measure, paint
from rlm.present.outcomes import last_line
from rlm.text.styled import Span, Style, clip, columns, wrap

SPANS = st.lists(st.text().map(Span), max_size=4).map(tuple)


@given(spans=SPANS, tail=SPANS, width=st.integers(0, 100))
def test_a_cropped_row_is_never_too_wide_and_moves_nothing(
    spans: tuple[Span, ...], tail: tuple[Span, ...], width: int
) -> None:
    row = fit(Row(spans, tail), width, crop=True)
    assert measure(row.spans) <= width
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", paint(row, color=False))


@given(text=st.text(st.characters(exclude_categories=["Cc", "Cs"])), width=st.integers(2, 30))
def test_wrapped_text_is_whole_and_no_piece_is_too_wide(text: str, width: int) -> None:
    pieces = wrap(text, width)
    assert "".join(pieces) == text
    assert all(columns(piece) <= width for piece in pieces)


def test_the_tail_is_at_the_right_edge_and_the_text_gives_way() -> None:
    row = Row((Span("some long text"),), (Span("✓"),))
    assert paint(fit(row, 20), color=False) == "some long text     ✓"
    assert paint(fit(row, 12), color=False) == "some lon…  ✓"
    assert paint(fit(row, 1), color=False) == "…"


def test_a_row_without_a_tail_is_as_long_as_it_is() -> None:
    row = Row((Span("a notice that somebody will want to copy"),))
    assert paint(fit(row, 10), color=False) == "a notice that somebody will want to copy"


def test_colour_is_used_only_when_it_is_wanted() -> None:
    row = fit(Row((Span("error: ", Style.RED), Span("it broke"))), 80)
    assert paint(row, color=True) == "\x1b[31merror: \x1b[0mit broke"
    assert paint(row, color=False) == "error: it broke"


@pytest.mark.parametrize(
    ("text", "wide"), [("abc", 3), ("深い", 4), ("e\u0301", 1), ("🙂", 2), ("❤\ufe0f", 2), ("", 0)]
)
def test_columns_are_those_of_a_terminal(text: str, wide: int) -> None:
    assert columns(text) == wide


def test_a_wide_character_is_not_cut_in_half() -> None:
    assert clip("深深深", 4) == "深…"
    assert clip("深深深", 0) == ""


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1k"),
        (1_234, "1.2k"),
        (9_960, "10k"),
        (84_321, "84k"),
        (999_600, "1M"),
        (1_250_000, "1.2M"),
    ],
)
def test_counts_are_short(number: int, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (0, "0 ms"),
        (0.02, "20 ms"),
        (0.41, "0.4 s"),
        (9.97, "10 s"),
        (59.4, "59 s"),
        (59.6, "1m 00s"),
        (64, "1m 04s"),
        (7_510, "2h 05m"),
    ],
)
def test_times_are_short(duration: float, text: str) -> None:
    assert seconds(duration) == text


def test_paths_and_lines_are_short() -> None:
    assert short("root/sub-1a2b3c4d/sub-5e6f7a8b") == "1a2b/5e6f"
    assert short("root") == ""
    assert first_line("\n\n  import json\nx = 1\n") == "import json …"
    assert last_line("first\nlast\n\n[context turns: 1/2]\n") == "last"
    assert last_line("\n \n") == ""
