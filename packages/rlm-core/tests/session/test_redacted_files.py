"""Kernels and commands write their complete outputs to files; no secret stays in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.sessions.redact import redact_files
from rlm.text.redact import Redactor

SECRET = "sk-very-secret-key"


@pytest.mark.parametrize("before", [0, 1, (1 << 20) - 5, (1 << 20) - len(SECRET), 1 << 20, 3_000_000])
def test_a_secret_is_found_wherever_it_is(tmp_path: Path, before: int) -> None:
    path = tmp_path / "cell-1.txt"
    path.write_bytes(b"x" * before + SECRET.encode() + b"y" * 100)
    redact_files(Redactor([SECRET]), tmp_path)
    assert b"x" * before + b"[redacted]" + b"y" * 100 == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())
    assert 0o600 == path.stat().st_mode & 0o777


@pytest.mark.parametrize("cut", [1, 20, 44])
def test_a_secret_that_is_escaped_may_lie_across_a_cut(tmp_path: Path, cut: int) -> None:
    secret, written = "sk-a1B2/c3+d4'e5", b"sk-a1B2&amp;#x2F;c3%252bd4\\\\\\'e5"
    path = tmp_path / "cell-1.txt"
    path.write_bytes(b"\xff" * ((1 << 20) - cut) + written + b"\n")
    redact_files(Redactor([secret]), tmp_path)
    assert b"\xff" * ((1 << 20) - cut) + b"[redacted]\n" == path.read_bytes()


def test_files_without_a_secret_links_and_pipes_are_unchanged(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text(SECRET)
    folder = tmp_path / "outputs"
    folder.mkdir()
    (folder / "a.txt").write_text("nothing here")
    before = (folder / "a.txt").stat()
    os.mkfifo(folder / "b.fifo")
    redact_files(Redactor([SECRET]), folder)
    assert before.st_ino == (folder / "a.txt").stat().st_ino
    (folder / "link").symlink_to(outside)
    (folder / "z.txt").write_text(SECRET)
    redact_files(Redactor([SECRET]), folder)
    assert SECRET == outside.read_text()
    assert "[redacted]" == (folder / "z.txt").read_text(), (
        "a file that cannot be cleaned must not prevent the cleaning of others"
    )


@given(st.lists(st.sampled_from([SECRET.encode(), b"sk-very", b"secret-key", b"-", b"x" * 70_000]), max_size=40))
def test_redacting_a_file_gives_the_same_as_redacting_a_text(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("r") / "f"
    path.write_bytes(b"".join(parts))
    redact_files(Redactor([SECRET]), path.parent)
    assert b"".join(parts).replace(SECRET.encode(), b"[redacted]") == path.read_bytes()
