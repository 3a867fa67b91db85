"""examples/: what the pages promise, as a reader would run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rlm_testkit.cli import Rlm, Session

EXAMPLE = Path(__file__).parents[2] / "examples" / "long_file"
QUESTION = "What do readers complain about most, and how often? `context` is the log of our help desk."


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "log.txt"
    subprocess.run([sys.executable, EXAMPLE / "make_file.py", path], check=True)
    return path


def test_a_question_over_50_mb_is_answered_by_children_that_read_parts(alone: Rlm, log: Path) -> None:
    recording = f"replay:{EXAMPLE / 'turns.jsonl'}"
    done = alone("--model", recording, "--max-depth", "1", "--context", str(log), QUESTION)
    text = log.read_text()
    complaints = text.count(" wrote: ")
    late = sum("reminder" in line for line in text.splitlines() if " wrote: " in line)
    assert 0 == done.code
    assert f"{late} of {complaints} complaints" in done.out
    children = done.session.children
    assert 8 == len(children)
    assert complaints == sum(_reported(child) for child in children), "what the children's cells really counted"
    assert all(len(str(messages)) < 20_000 for agent in [done.session, *children] for messages in agent.requests())


def _reported(child: Session) -> int:
    return sum(int(line.split()[0]) for line in child.results[0].splitlines() if line.strip())
