"""examples/: each page's commands do what the page says."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rlm_testkit.cli import Rlm, Session
from rlm_testkit.waiting import until

TOP = Path(__file__).parents[2]
EXAMPLE = TOP / "examples" / "long_file"
WORKFLOWS = TOP / "examples" / "workflows"
KILLED = TOP / "examples" / "killed_run"
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
    assert complaints == sum(_reported(child) for child in children), "the numbers that the children's cells counted"
    assert all(len(str(messages)) < 20_000 for agent in [done.session, *children] for messages in agent.requests())


def _reported(child: Session) -> int:
    return sum(int(line.split()[0]) for line in child.results[0].splitlines() if line.strip())


def test_each_workflow_with_sub_agents_does_what_its_page_says(alone: Rlm, tmp_path: Path) -> None:
    shutil.copytree(WORKFLOWS, tmp_path / "workflows")
    subprocess.run([sys.executable, tmp_path / "workflows/record.py"], check=True)
    recording = tmp_path / "workflows/turns.jsonl"
    assert recording.read_text() == (WORKFLOWS / "turns.jsonl").read_text(), "record.py writes the committed recording"
    page = (TOP / "docs" / "workflows.md").read_text()
    cells = list((WORKFLOWS / "cells").glob("*.py"))
    assert all(f"```python\n{cell.read_text()}```" in page for cell in cells)
    (alone.cwd / "hello.txt").write_text("hello\n")
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"]):
        subprocess.run(["git", *words], cwd=alone.cwd, check=True)
    flags = ("--max-depth", "2", "--max-total-tokens", "50000")
    done = alone("--model", f"replay:{recording}", *flags, "Show each way to work with sub-agents.")
    patched = ["Write the greeting in capitals.", "Add a file with the licence."]
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"sum": 499500.0, "posts": 1_000_000, "patched": patched}
    printed = "\n".join(done.session.results)
    assert len(cells) == len(done.session.results) == 13
    for line in (
        "typed: Book(title='Moby-Dick', year=1851) at the second try",
        "handle: it works\n",
        "handle: Two commas were missing.\n",
        "budget: 2 opinions, prime according to 0",
        "shared data: [250000, 250000, 250000, 250000]",
        "first completed: x = 5\nfirst completed: x = 5",
        "race: 83 - 1 cancelled",
        "pipeline: ['2024-05-03\\n2024-06-09', '2024-07-01']",
        "map-reduce: [('red', 3), ('blue', 2), ('green', 1)]",
        "judge: dateparse",
        "shared frame: 499500.0 by",
        "the parent's tree: clean\nwith the patches:  M hello.txt\n?? LICENSE",
    ):
        assert line in printed
    assert (alone.cwd / "hello.txt").read_text() == "HELLO\n"


def test_a_killed_run_continues_without_repeating_finished_sub_agents(alone: Rlm) -> None:
    shutil.copytree(KILLED, alone.cwd, dirs_exist_ok=True)
    recorded = (alone.cwd / "turns.jsonl").read_text()
    subprocess.run([sys.executable, alone.cwd / "record.py"], check=True)
    assert (alone.cwd / "turns.jsonl").read_text() == recorded, "record.py writes the committed recording"
    with alone.start("--model", "replay:turns.jsonl", "--max-depth", "1", "Which supplier is the cheapest?") as running:
        until(lambda: _ended(alone) == 2)
        running.send_signal(signal.SIGKILL)
    (alone.cwd / "offers/west.txt").write_text("6.50\n")
    done = alone("resume")
    assert (0, "west, at 6.50\n") == (done.code, done.out), done.err
    assert done.session.results[-2].startswith(
        "north 7.9 (replayed)\nsouth 8.2 (replayed)\nwest 6.5 \n[Replayed, not run:"
    )
    assert done.err.count("replayed, not run again") == 2


def _ended(run: Rlm) -> int:
    """The sub-agents that are done."""
    return sum(path.read_text().count('"agent_end"') for path in run.cwd.glob(".rlm/sessions/*/messages.jsonl"))
