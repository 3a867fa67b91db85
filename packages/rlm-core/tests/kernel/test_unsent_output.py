"""Output that a kernel could not send before it died is reported."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rlm.inside.emergencies import CrashBuffer
from rlm.kernel.death import length, unsent

RING = 65_536
texts = st.one_of(
    st.text("aé☃😀\n", max_size=9), st.integers(0, 2 * RING).map(lambda n: "".join(map(str, range(n)))[:n])
)


@given(st.lists(texts, max_size=8), st.integers(0, 8))
def test_output_that_was_not_received_is_reported(written: list[str], received: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words"
        words = CrashBuffer(str(path))
        for text in written:
            words.add(text)
        reported = unsent(path, sum(map(length, written[:received])))
    rest = "".join(written[received:])
    if length(rest) <= RING:
        assert reported == rest
    else:
        note, newest = reported.removeprefix("\n").split("\n", 1)
        assert note == f"[… {length(rest) - RING:,} bytes were lost …]"
        assert newest == rest.encode()[-RING:].decode(errors="replace")


def plant_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def plant_fifo(path: Path) -> None:
    os.mkfifo(path)


def plant_rubbish(path: Path) -> None:
    path.write_bytes(b"\xff" * 8)


@pytest.mark.parametrize("plant", [plant_link, plant_fifo, plant_rubbish, Path.mkdir, lambda path: None])
def test_whatever_a_cell_puts_in_place_of_unsent_output_is_not_reported(
    tmp_path: Path, plant: Callable[[Path], object]
) -> None:
    plant(tmp_path / "words")
    assert unsent(tmp_path / "words", 0) == ""
