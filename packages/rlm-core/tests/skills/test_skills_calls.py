"""The pipe in which skills report each call: what is counted, and what a kernel cannot do with it."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio
from rlm.core.events import SkillsCalled
from rlm.sessions.encoder import RecordEncoder
from rlm.sessions.metrics import SessionMetrics, SubtreeMetrics
from rlm.sessions.records import Journalled
from rlm.skills import CallLog, count_calls


@pytest_asyncio.fixture
async def log(tmp_path: Path) -> AsyncIterator[CallLog]:
    with closing(CallLog(tmp_path / "calls")) as opened:
        yield opened


def write(log: CallLog, text: str | bytes) -> None:
    with log.path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


async def test_each_read_gives_the_new_calls(log: CallLog) -> None:
    assert Counter() == log.take_counts()
    write(log, "say\nsay()\nsay()\n")
    assert Counter({"say()": 2, "say": 1}) == log.take_counts()
    assert Counter() == log.take_counts()
    write(log, "say\n")
    assert Counter({"say": 1}) == log.take_counts()


async def test_a_line_that_is_half_written_waits_for_its_end(log: CallLog) -> None:
    write(log, "say\nsa")
    assert Counter({"say": 1}) == log.take_counts()
    write(log, "y()\n")
    assert Counter({"say()": 1}) == log.take_counts()


def test_only_known_names_are_counted_from_python_and_from_the_shell_apart() -> None:
    lines = Counter({"say()": 3, "say": 2, "web": 1, "evil": 9, "../say": 1, "say()()": 1, "": 4})
    assert SkillsCalled({"say": 3}, {"say": 2, "web": 1}) == count_calls(lines, {"web", "say"})
    assert count_calls(Counter({"evil": 1}), {"say"}) is None


async def test_a_million_calls_are_counted_and_take_no_disk(log: CallLog) -> None:
    await asyncio.to_thread(write, log, "say()\n" * 1_000_000)
    assert 0 == log.path.stat().st_size
    assert Counter({"say()": 1_000_000}) == log.take_counts()


async def test_invalid_names_are_ignored(log: CallLog) -> None:
    junk = b"\xff\x00" * 2_000_000 + b"say\n" + b"".join(b"%d\n" % number for number in range(100_000))
    await asyncio.to_thread(write, log, junk)
    news = log.take_counts()
    assert 0 < len(news) <= 1_000
    assert [] == [name for name in news if not name.isdecimal()], (
        "neither the invalid data nor the end of its line counts"
    )


@pytest.mark.parametrize("trick", ["removed", "link", "fifo", "file"])
async def test_a_file_that_a_kernel_puts_in_its_place_is_not_read(log: CallLog, tmp_path: Path, trick: str) -> None:
    write(log, "say\n" * 3)
    assert 3 == log.take_counts()["say"]
    log.path.unlink()
    if trick == "link":
        (tmp_path / "other").write_text("say\n" * 10)
        log.path.symlink_to("other")
    if trick == "fifo":
        os.mkfifo(log.path)
    if trick == "file":
        log.path.write_text("say\n" * 10)
    assert Counter() == log.take_counts()


async def test_a_link_that_was_put_in_its_place_before_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "calls").symlink_to("elsewhere")
    with pytest.raises(FileExistsError):
        CallLog(tmp_path / "calls")
    assert not (tmp_path / "elsewhere").exists()


def test_counts_add_up_in_the_metrics_and_in_those_of_the_tree() -> None:
    metrics, encoder = SessionMetrics(), RecordEncoder()
    for event in (SkillsCalled({"say": 2}, {"say": 1}), SkillsCalled({"say": 1, "web": 4}, {})):
        record = encoder.encode(event)
        assert isinstance(record, Journalled)
        metrics.add(record)
    below = SubtreeMetrics(counts=Counter({"skill_calls_python": 10, "skill_calls_python_say": 10}))
    reported = {name: number for name, number in metrics.metrics(below, 0).items() if "skill" in name}
    assert reported == {
        "skill_calls_python": 7,
        "skill_calls_python_say": 3,
        "skill_calls_python_web": 4,
        "skill_calls_shell": 1,
        "skill_calls_shell_say": 1,
        "tree_skill_calls_python": 17,
        "tree_skill_calls_shell": 1,
    }


def test_metrics_say_zero_where_nothing_was_called() -> None:
    reported = SessionMetrics().metrics(SubtreeMetrics(), 0)
    assert 0 == reported["skill_calls_python"] == reported["skill_calls_shell"]
