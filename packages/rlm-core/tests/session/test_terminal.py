"""No text of a model, program or file can control a terminal, and text in every language stays unchanged."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.text.terminal import plain, plain_json
from rlm_testkit.hostile import CORPUS

LANGUAGES = [
    "The quick brown fox, “quoted” — and so on…",
    "Falsches Üben von Xylophonmusik quält jeden größeren Zwerg",
    "Příliš žluťoučký kůň úpěl ďábelské ódy",
    "Съешь же ещё этих мягких французских булок",
    "Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία",
    "דג סקרן שט בים מאוכזב ולפתע מצא חברה",
    "نص حكيم له سر قاطع وذو شأن عظيم",
    "می‌خواهم کتاب‌ها را بخوانم",  # zero-width non-joiners, as Persian is written
    "ऋषियों को सताने वाले क्‍षत्रिय",  # a zero-width joiner, as Hindi may need
    "いろはにほへと ちりぬるを。「漢字」とカタカナ、半角ｶﾅ",
    "天地玄黃，宇宙洪荒。",
    "키스의 고유조건은 입술끼리 만나야 하고",
    "ฉันกินกระจกได้ แต่มันไม่ทำให้ฉันเจ็บ",
    "ខ្ញុំ\u200bអាច\u200bញុំ\u200bកញ្ចក់",  # zero-width spaces, as Khmer separates words
    "e\u0301 combining, ﬁ ligature, ½ ∑ √ ≠ → ☃",
    "👩‍💻 👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🏴󠁧󠁢󠁳󠁣󠁴󠁿 1️⃣",
    "\u200fעברית\u200e with marks",
    "tabs\tand\nnew lines\n",
    "",
]


def controls(text: str) -> list[str]:
    """The characters that could control a terminal or deceive a reader."""
    return [
        character
        for character in text
        if (character < " " and character not in "\n\t")
        or "\x7f" <= character <= "\x9f"
        or character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
        or "\ud800" <= character <= "\udfff"
        or "\U000e0000" <= character <= "\U000e007f"
    ]


def test_there_are_200_hostile_strings() -> None:
    assert len(set(CORPUS)) >= 200


@pytest.mark.parametrize("text", CORPUS, ids=ascii)
def test_no_control_remains_of_a_hostile_string(text: str) -> None:
    assert controls(plain(text)) == []
    assert controls(plain(f"before {text} after")) == []
    plain(text).encode()


@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_no_control_remains_of_any_string(text: str) -> None:
    assert controls(plain(text)) == []


@given(st.lists(st.sampled_from(CORPUS), max_size=6))
def test_no_control_is_formed_by_joining_strings(parts: list[str]) -> None:
    assert controls(plain("".join(parts))) == []


@given(st.lists(st.sampled_from(CORPUS), max_size=6))
def test_plain_text_stays_as_it_is(parts: list[str]) -> None:
    text = plain("".join(parts))
    assert plain(text) == text


@pytest.mark.parametrize("text", LANGUAGES)
def test_the_words_of_all_languages_stay_as_they_are(text: str) -> None:
    assert plain(text) == text
    assert plain(f"\x1b[1m{text}\x1b[0m") == text


@given(st.text(st.characters(exclude_categories=["C"]), max_size=60))
def test_all_printable_characters_stay(text: str) -> None:
    assert plain(text) == text.replace("\u2028", "\n").replace("\u2029", "\n")


@pytest.mark.parametrize(
    ("text", "plain_text"),
    [
        ("\x1b[1;31mred\x1b[0m text", "red text"),
        ("\x1b]0;title\x07rest", "rest"),
        ("\x1b]8;;https://evil.example\x1b\\text\x1b]8;;\x1b\\", "text"),
        ("\x1bPq~~\x1b\\after", "after"),
        ("\x1b]never ended, so it stays visible", "␛]never ended, so it stays visible"),
        ("50%\r100%", "50%\n100%"),
        ("a\r\nb", "a\nb"),
        ("\x07 \x7f", "␇ ␡"),
        ("\u202egnp.exe", "�gnp.exe"),
        ("hidden\U000e0041\U000e0042", "hidden��"),
        ("rm\u200b -rf \u200d/", "rm -rf /"),
        ("\ud83d", "�"),
    ],
)
def test_each_control_sequence_is_shown_as_plain_text(text: str, plain_text: str) -> None:
    assert plain(text) == plain_text


@pytest.mark.parametrize("text", [*CORPUS, *LANGUAGES], ids=ascii)
def test_json_keeps_its_value_and_holds_no_control(text: str) -> None:
    written = plain_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert controls(written) == []
    assert json.loads(written) == {text: [text]}


@pytest.mark.parametrize("piece", ["\x1b]", "\x90", "\x1b[", "\x1b", "\x9b1;", "\u200b", "\x1b ", "\x1b[0", "a\u200b"])
def test_a_megabyte_of_anything_is_done_in_no_time(piece: str) -> None:
    """If the time were not linear, this would take an hour: the time limit of a test ends it."""
    assert controls(plain(piece * (1_000_000 // len(piece)))) == []
