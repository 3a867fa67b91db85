"""The output of a program is cleaned and bounded, and its complete text is on disk."""

from __future__ import annotations

import resource
import stat
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.kernel.output import CellOutput
from rlm.kernel.render import Picture
from rlm.text.bounded import UNLIMITED, BoundedOutput, Cleaner, Quota


def clean(*pieces: str) -> str:
    cleaner = Cleaner()
    return "".join([*(cleaner.write(piece) for piece in pieces), cleaner.close()])


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        ("plain\n\ttabbed", "plain\n\ttabbed"),
        ("\x1b[1;31mred\x1b[0m and \x9b4mC1\x9b0m", "red and C1"),
        ("\x1b[38:2::255:0:0mred\x1b[m", "red"),
        ("a\r\nb\r\r\nc", "a\nb\nc"),
        ("10%\r20%\r100%\n", "100%\n"),
        ("100%\r5%", "5%0%"),
        ("100%\r\x1b[K5%", "5%"),
        ("100%\x1b[2K5%", "5%"),
        ("long line\x1b[1Gshort\x1b[K\n", "short\n"),
        ("no such\b\b\b\bfile", "no file"),
        ("B\bBo\bol\bld", "Bold"),
        ("\b\b\bstart", "start"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0;2;0;0;0\x1b\\sixel", "sixel"),
        ("\x9d0;title\x9cafter", "after"),
        ("\x1b]0;never closed\nnext line", "\nnext line"),
        ("\x1b(B\x1b7\x1b=\x1bcreset", "reset"),
        ("bell\x07 nul\x00 del\x7f vt\x0b ff\x0c", "bell nul del vt ff"),
        ("half \ud83d of a pair", "half \ufffd of a pair"),
        ("ends in an escape \x1b", "ends in an escape "),
        ("ends in half of one \x1b[3", "ends in half of one "),
        ("\x1b[" + "1" * 70 + "m", "1" * 70 + "m"),
        ("\x0estays\x0fa line", "staysa line"),
    ],
)
def test_text_is_what_a_terminal_finally_shows(printed: str, seen: str) -> None:
    assert clean(printed) == seen


NASTY = st.text(st.sampled_from("ab \n\r\t\b\x1b[]0;1mKGP\\\x07\x9b\x9c\x9d\x00\x0e\x0f?\ud800é"), max_size=60)


@given(st.lists(NASTY, max_size=8))
def test_it_does_not_matter_where_the_pieces_are_cut(pieces: list[str]) -> None:
    assert clean(*pieces) == clean("".join(pieces))


@given(st.lists(st.text(max_size=50) | NASTY, max_size=8))
def test_no_control_character_comes_through(pieces: list[str]) -> None:
    seen = clean(*pieces)
    assert not any(c in seen for c in map(chr, (*range(9), *range(11, 32), *range(127, 160))))
    seen.encode()  # no lone surrogate


@given(st.lists(st.text(st.characters(exclude_categories=["C"], include_characters="\n\t")), max_size=8))
def test_plain_text_comes_through_unchanged(pieces: list[str]) -> None:
    assert clean(*pieces) == "".join(pieces)


def test_a_line_without_end_is_passed_on_in_constant_memory() -> None:
    cleaner, piece, seen = Cleaner(), "x" * 100_000, 0
    tracemalloc.start()
    try:
        for _ in range(200):
            seen += len(cleaner.write(piece))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert seen + len(cleaner.close()) == 20_000_000


@pytest.mark.parametrize("unit", ["\x1b[", "\x1b]", "\x1b", "\r", "\b", "\x1b[31m", "x\r", "\x9b1", "\x1b[2Ky"])
def test_a_hostile_text_takes_time_in_proportion_to_its_length(unit: str) -> None:
    # It takes half a second. If each unit needed a walk over the line, it would take many minutes: the time limit ends
    # it.
    clean("y" * 8_000, *[unit * 1_000] * 300)


def test_a_small_output_is_returned_whole_and_makes_no_file(tmp_path: Path) -> None:
    with BoundedOutput(10, tmp_path / "outputs", "cell-1.txt") as output:
        output.write("12345")
        output.write("67890")
        assert output.text() == "1234567890"
        assert output.path is None
    assert not (tmp_path / "outputs").exists()


def test_a_large_output_is_head_note_and_tail_and_the_whole_is_on_disk(tmp_path: Path) -> None:
    text = "".join(f"line {n}\n" for n in range(10_000))
    with BoundedOutput(100, tmp_path / "outputs", "cell-1.txt") as output:
        for start in range(0, len(text), 7):
            output.write(text[start : start + 7])
        whole = tmp_path / "outputs" / "cell-1.txt"
        note = f"[… {len(text) - 100:,} characters left out; the full text is in {whole} …]"
        assert output.text() == f"{text[:50]}\n{note}\n{text[-50:]}"
        assert output.path == whole
        assert whole.read_text() == text
    assert stat.S_IMODE(whole.stat().st_mode) == 0o600
    assert stat.S_IMODE(whole.parent.stat().st_mode) == 0o700


@given(st.lists(st.text(max_size=40), max_size=30), st.integers(1, 60))
def test_head_and_tail_are_the_text_s_own(tmp_path_factory: pytest.TempPathFactory, parts: list[str], n: int) -> None:
    text = "".join(parts)
    with BoundedOutput(n, tmp_path_factory.mktemp("outputs"), "out.txt") as output:
        for part in parts:
            output.write(part)
        result = output.text()
    if len(text) <= n:
        assert result == text
    else:
        assert result.startswith(text[: n - n // 2])
        assert result.endswith(text[len(text) - n // 2 :])


def test_line_endings_and_odd_characters_reach_the_file_as_they_came(tmp_path: Path) -> None:
    with BoundedOutput(1, tmp_path, "out.txt") as output:
        output.write("a\r\nb\u2028é\ud800")
        output.text()
        assert (tmp_path / "out.txt").read_bytes() == "a\r\nb\u2028é?".encode()


def test_an_existing_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out.txt").write_text("mine")
    with BoundedOutput(1, tmp_path, "out.txt") as output:
        output.write("yours")
        output.text()
        assert (tmp_path / "out.txt").read_text() == "mine"
        assert (tmp_path / "out-2.txt").read_text() == "yours"


def test_a_link_at_the_path_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "outputs").symlink_to(outside)
    with BoundedOutput(4, tmp_path / "outputs", "out.txt") as output:
        output.write("too long for four")
        assert "could not be saved" in output.text()
    assert list(outside.iterdir()) == []


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The operating system refuses to write more than `size` bytes to a file, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_head_and_tail_are_kept(tmp_path: Path) -> None:
    with largest_file(100_000), BoundedOutput(10, tmp_path, "out.txt") as output:
        for _ in range(10):
            output.write("x" * 50_000)
        output.write("the end")
        result = output.text()
    assert result.startswith(
        "xxxxx\n[… 499,997 characters left out …]\n[the full output could not be saved: File too large]\n"
    )
    assert result.endswith("e end")
    assert list(tmp_path.iterdir()) == []


def test_memory_is_bounded_by_the_limit(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with BoundedOutput(1_000_000, tmp_path, "out.txt") as output:
            for _ in range(300_000):
                output.write("a hundred characters " * 5)
            assert len(output.text()) < 1_001_000
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("limit", "kept"), [(None, UNLIMITED), (None, 10_000_000), (5, 5)])
def test_no_limit_is_ten_million_characters(tmp_path: Path, limit: int | None, kept: int) -> None:
    with BoundedOutput(limit, tmp_path, "out.txt") as output:
        output.write("x" * kept)
        assert output.path is None
        output.write("x")
        assert output.path is not None


def test_stored_output_obeys_a_limit_for_each_file_and_one_for_all(tmp_path: Path) -> None:
    quota = Quota(each=800, total=1_500)
    texts = []
    for size in (400, 900, 700, 500, 200):
        with BoundedOutput(10, tmp_path, "out.txt", quota) as output:
            for _ in range(size // 100):
                output.write("é" * 50)
        texts.append(output.text())
    assert "the full output could not be saved: the limit of a file is 800 bytes" in texts[1]
    assert "the full output could not be saved: the limit of all outputs together is 1,500 bytes" in texts[3]
    assert [200, 400, 700] == sorted(path.stat().st_size for path in tmp_path.iterdir())
    assert 1_300 == quota.used


def test_a_cell_that_clears_its_output_has_none_even_after_long_late_output(tmp_path: Path) -> None:
    with closing(CellOutput(10, tmp_path, "cell-1")) as output:
        output.line("printed before the cell began")
        output.begin()
        output.write("printed by the cell\n")
        assert not output.empty
        output.clear(wait=False)
        assert output.empty
        assert "characters left out" in output.text()


def test_pictures_and_long_tracebacks_obey_the_same_limits(tmp_path: Path) -> None:
    quota = Quota(each=800, total=1_500)
    reported = []
    with closing(CellOutput(UNLIMITED, tmp_path, "cell-1", quota=quota)) as cell_output:
        for size in (900, 800, 600, 200):
            reported.append(cell_output.save(Picture(b"p" * size, "png"), tmp_path))
        cell_output.error("line\n" * 300)
        result = cell_output.text()
    assert "not saved: the limit of a file is 800 bytes" == reported[0]
    assert "not saved: the limit of all outputs together is 1,500 bytes" == reported[3]
    assert [600, 800] == sorted(path.stat().st_size for path in tmp_path.iterdir())
    assert "not saved: " in result
    assert 1_400 == quota.used
