from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.core.history import History
from rlm.errors import ToolError
from rlm.tools.edit import Edit
from rlm.tools.replace import edit


def write(folder: Path, content: bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


async def test_one_place_is_replaced_and_its_lines_are_shown(tmp_path: Path) -> None:
    path = write(tmp_path, b"one\ntwo\nthree\n")
    arguments = {"path": "file", "old_str": "tw", "new_str": "T\nW"}
    outcome = await Edit(tmp_path).run(arguments, History())
    assert path.read_bytes() == b"one\nT\nWo\nthree\n"
    assert outcome.content == "file is now:\n2\tT\n3\tWo"


def test_a_text_that_occurs_often_names_all_its_lines(tmp_path: Path) -> None:
    path = write(tmp_path, b"x\ny\nx x\n")
    with pytest.raises(ToolError, match=r"occurs 3 times in file, at lines 1, 3, 3\."):
        edit(tmp_path, "file", "x", "z")
    assert path.read_bytes() == b"x\ny\nx x\n"


def test_overlapping_occurrences_count_as_two(tmp_path: Path) -> None:
    write(tmp_path, b"aaa")
    with pytest.raises(ToolError, match="occurs 2 times"):
        edit(tmp_path, "file", "aa", "b")


@pytest.mark.parametrize(
    ("path", "old", "new", "reported"),
    [
        ("file", "nowhere", "x", "does not occur in file"),
        ("file", "", "x", "is empty"),
        ("file", "one", "one", "new_str equals the present text"),
        ("nofile", "a", "b", "nofile was not changed: No such file"),
        (".", "a", "b", "is not a file"),
        ("pipe", "a", "b", "is not a file"),
        ("loop", "a", "b", "was not changed: "),
        ("a\0b", "a", "b", "null byte"),
        ("file", "one", "\ud800", "surrogates"),
    ],
)
def test_an_impossible_request_is_reported_and_nothing_is_changed(
    tmp_path: Path, path: str, old: str, new: str, reported: str
) -> None:
    file = write(tmp_path, b"one\n")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ToolError, match=reported):
        edit(tmp_path, path, old, new)
    assert file.read_bytes() == b"one\n"
    assert {item.name for item in tmp_path.iterdir()} == {"file", "pipe", "loop"}


@pytest.mark.parametrize("old", ["two\nthree", "two\r\nthree"])
def test_line_ends_match_in_both_forms_and_are_unchanged(tmp_path: Path, old: str) -> None:
    path = write(tmp_path, b"one\r\ntwo\r\nthree\r\nfour\r\n")
    edit(tmp_path, "file", old, "2\n3\n3b")
    assert path.read_bytes() == b"one\r\n2\r\n3\r\n3b\r\nfour\r\n"


def test_a_line_in_a_file_with_two_kinds_of_ends_keeps_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, b"unix\nwindows\r\nend\n")
    edit(tmp_path, "file", "windows\n", "w\n\n")
    assert path.read_bytes() == b"unix\nw\r\n\r\nend\n"


def test_a_text_that_begins_with_a_line_end_occurs_once(tmp_path: Path) -> None:
    path = write(tmp_path, b"a\r\nb\r\n")
    edit(tmp_path, "file", "\nb", "\nc")
    assert path.read_bytes() == b"a\r\nc\r\n"


def test_bytes_that_are_not_utf_8_stay(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf\xff caf\xe9 \x00 here \xfe no end")
    edit(tmp_path, "file", "here", "there")
    assert path.read_bytes() == b"\xef\xbb\xbf\xff caf\xe9 \x00 there \xfe no end"


@pytest.mark.parametrize(
    ("codec", "head"),
    [
        ("utf-16-le", "\ufeff"),
        ("utf-16-be", "\ufeff"),
        ("utf-32-le", "\ufeff"),
        ("utf-16-le", ""),
        ("utf-16-be", ""),
        ("utf-8", "\ufeff"),
        ("latin-1", "# -*- coding: latin-1 -*-\r\n"),
        ("gbk", "<?xml version='1.0' encoding='gbk'?>\r\n"),
        ("shift_jis", '<meta charset="shift_jis">\r\n'),
    ],
)
def test_a_file_keeps_its_encoding(tmp_path: Path, codec: str, head: str) -> None:
    """In UTF-16, "ਊ" contains the byte of a newline."""
    odd = "é" if codec == "latin-1" else "表"  # its second byte in Shift-JIS is a backslash
    text = f"{head}one\r\ntwo {odd}\r\nthree\r\n" + ("ਊ\r\n" if "utf" in codec else "")
    path = write(tmp_path, text.encode(codec))
    reported = edit(tmp_path, "file", f"two {odd}\n", f"2 {odd}{odd}\nzwei\n")
    assert path.read_bytes() == text.replace(f"two {odd}", f"2 {odd}{odd}\r\nzwei").encode(codec)
    line = 2 + head.count("\n")
    assert reported.endswith(f" is now:\n{line}\t2 {odd}{odd}\n{line + 1}\tzwei")
    assert (codec in reported) == (codec != "utf-8")


@pytest.mark.parametrize(
    ("content", "old", "new", "reported"),
    [
        (b"caf\xe9 = 1\n", "= 1", "= ä", "file is not UTF-8 and does not say which encoding it has"),
        (b"caf\xe9 = 1\n", "café", "cafe", "does not occur in file.*is not UTF-8"),
        (b"# coding: latin-1\n\xe9\n", "é", "€", "in latin-1, which cannot write '.u20ac'"),
        (b"# coding: rot13\n\xe9\n", "é", "x", "is not UTF-8"),
        (b"\xff\xfeo\xd8\n\0", "é", "x", "is not UTF-8"),
    ],
)
def test_no_mixture_of_encodings_is_written(tmp_path: Path, content: bytes, old: str, new: str, reported: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ToolError, match=reported):
        edit(tmp_path, "file", old, new)
    assert path.read_bytes() == content


def test_an_edit_keeps_mode_link_and_location(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path = write(tmp_path / "real", b"#!/bin/sh\n")
    path.chmod(0o4751)
    link = tmp_path / "link"
    link.symlink_to("real/file")
    edit(tmp_path, "link", "sh", "bash")
    assert link.is_symlink()
    assert path.read_bytes() == b"#!/bin/bash\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o4751
    assert [item.name for item in (tmp_path / "real").iterdir()] == ["file"]


def test_a_file_that_is_open_elsewhere_keeps_its_old_content_there(tmp_path: Path) -> None:
    """This shows that the file is replaced in one step."""
    path = write(tmp_path, b"old content")
    with path.open("rb") as reader:
        edit(tmp_path, "file", "old", "new")
        assert reader.read() == b"old content"
    assert path.read_bytes() == b"new content"


def test_a_read_only_file_is_left_alone(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everything; the unprivileged run covers it")
    path = write(tmp_path, b"one")
    path.chmod(0o444)
    with pytest.raises(ToolError, match="read-only"):
        edit(tmp_path, "file", "one", "two")
    assert path.read_bytes() == b"one"


def test_removing_lines_shows_what_is_there_now(tmp_path: Path) -> None:
    write(tmp_path, b"one\ntwo\nthree\n")
    assert edit(tmp_path, "file", "two\n", "") == "file is now:\n2\tthree"


@given(
    before=st.binary(max_size=60),
    old=st.text("ab\n\ré", min_size=1, max_size=6),
    new=st.text("xy\nü", max_size=6),
    after=st.binary(max_size=60),
)
def test_bytes_outside_the_match_never_change(
    tmp_path_factory: pytest.TempPathFactory, before: bytes, old: str, new: str, after: bytes
) -> None:
    folder = tmp_path_factory.mktemp("edit")
    path = write(folder, before + old.encode() + after)
    try:
        edit(folder, "file", old, new)
    except ToolError:
        assert path.read_bytes() == before + old.encode() + after
    else:
        text = path.read_bytes()
        assert text.startswith(before.rstrip(b"\r"))
        assert text.endswith(after)
