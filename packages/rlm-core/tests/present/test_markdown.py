"""Markdown for a terminal: no character is lost, and no word is broken."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.present.markdown import LONGEST, render_markdown
from rlm.text.styled import columns

ANSWER = r"""# Report

The **mean** of `values` is *not* 2*3*4, see [the docs](https://example.com/a/long/address/that/is/wider/than/the/terminal).
This line stays one.

* item one is a text that has to go on in the next line
* item two
  1. inner
  2. inner too

| name | value |
|---|---:|
| alpha | 1.5 |
| beta | 22 |

```python
    print("a line of code that is wider than the terminal and stays one line, so that it can be copied")
```

> quoted

vector<int> & ~~gone~~ \[ x_1 \] and \*stars\* ![plot](out/plot.png)
"""

EXPECTED = r"""# Report

The mean of `values` is not 2*3*4, see
the docs
(https://example.com/a/long/address/that/is/wider/than/the/terminal).
This line stays one.

• item one is a text that has to go on
  in the next line
• item two
  1. inner
  2. inner too

name   value
─────  ─────
alpha    1.5
beta      22

    print("a line of code that is wider than the terminal and stays one line, so that it can be copied")

│ quoted

vector<int> & ~~gone~~ \[ x_1 \] and
*stars* plot → out/plot.png"""


def test_an_answer_is_readable_without_colours() -> None:
    assert render_markdown(ANSWER, 40, color=False) == EXPECTED


def test_colours_replace_marks() -> None:
    shown = render_markdown("# Head\n**bold** *soft* `code`\n```python\nimport os\n```", 40, color=True)
    assert shown == (
        "\x1b[1mHead\x1b[0m\n\n\x1b[1mbold\x1b[0m \x1b[3msoft\x1b[0m \x1b[36mcode\x1b[0m\n\n\x1b[35mimport\x1b[0m os"
    )


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (60, "key    meaning\n─────  ────────────────────────────\nalpha  incomprehensibilities, at length"),
        (31, "key    meaning\n─────  ────────────────────────\nalpha  incomprehensibilities,\n       at length"),
        (24, "key: alpha\nmeaning:\nincomprehensibilities,\nat length"),
    ],
)
def test_a_table_gets_narrower_and_becomes_a_list_at_last(width: int, shown: str) -> None:
    table = "|key|meaning|\n|-|-|\n|alpha|incomprehensibilities, at length|"
    assert re.sub("─+$", "", render_markdown(table, width, color=False), flags=re.M) == re.sub(
        "─+$", "", shown, flags=re.M
    )


def test_no_control_sequence_passes() -> None:
    hostile = "a\x1b[2Jb `\x1b]0;title\x07c` [d](http://x/\x9b31m) ```\x1b[31m"
    shown = render_markdown(hostile, 40, color=False)
    assert shown == "ab `c` d (http://x/) ```"


def test_scripts_without_blanks_are_wrapped_too() -> None:
    assert render_markdown("你好世界" * 6, 20, color=False).split("\n") == [
        "你好世界你好世界你好",
        "世界你好世界你好世界",
        "你好世界",
    ]


def test_a_text_that_is_not_for_a_screen_is_unchanged() -> None:
    text = "*a* " * (LONGEST // 4 + 1)
    assert render_markdown(text, 40, color=True) == text


_MARKS = "ab \n#*_|-+>1.)!&\\\t世é"


@given(st.text(st.sampled_from(f"{_MARKS}[]()<:`~"), max_size=200), st.integers(20, 60))
def test_every_text_is_rendered(text: str, width: int) -> None:
    for color in (False, True):
        assert isinstance(render_markdown(text, width, color=color), str)


@given(st.text(st.sampled_from(_MARKS), max_size=200), st.integers(20, 60))
def test_no_letter_of_a_text_is_lost(text: str, width: int) -> None:
    shown = render_markdown(text, width, color=False)
    assert [letter for letter in shown if letter in "ab世é"] == [letter for letter in text if letter in "ab世é"]


@given(st.lists(st.text("ab世", min_size=1, max_size=12), max_size=30), st.integers(20, 60))
def test_lines_of_words_fit_and_words_stay_whole(words: list[str], width: int) -> None:
    shown = render_markdown(" ".join(words), width, color=False)
    assert all(columns(line) <= width for line in shown.split("\n"))
    assert shown.replace("\n", "").replace(" ", "") == "".join(words)
    ascii_words = {word for word in words if word.isascii()}
    assert ascii_words <= set(shown.split())
