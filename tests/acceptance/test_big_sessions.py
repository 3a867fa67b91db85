"""Very large sessions: memory stays bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rlm.present.follow import Follower
from rlm.present.show import show_tree
from rlm.sessions.journal import NAME
from rlm.sessions.store import list_sessions, read_tree
from rlm.text.styled import Canvas, columns, wrap

ROOT = Path(__file__).parents[2]

MEASURED = """
import re, sys
from pathlib import Path
from rlm.cli.main import run
code = run(sys.argv[1:])
# not `ru_maxrss`, which a new process takes over from the one that started it
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], file=sys.stderr)
sys.exit(code)
"""


def written(kind: str, home: Path, size: int) -> Path:
    """Write a session with `bench.big_sessions`."""
    command: list[str | Path] = [sys.executable, "-m", "bench.big_sessions", kind, home, str(size)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return home


def session(home: Path) -> Path:
    return home / "sessions" / f"{0:012x}"


def peak(home: Path, cwd: Path, *words: str) -> float:
    """The peak memory of the command in MB."""
    command: list[str | Path] = [sys.executable, "-c", MEASURED, words[0], f"{0:012x}", *words[1:], "--home", home]
    with (cwd / "out").open("wb") as out:
        done = subprocess.run(command, cwd=cwd, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1]) / 1_000


@pytest.fixture(scope="module")
def thirty_megabytes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written("megabytes", tmp_path_factory.mktemp("megabytes"), 30)


@pytest.mark.parametrize(
    "words",
    [("show",), ("show", "--whole"), ("show", "-f"), *(("export", "--format", each) for each in ("html", "ipynb", "chat", "atif"))],
    ids=" ".join,
)  # fmt: skip
def test_a_session_is_written_while_it_is_read_and_never_held_in_memory(
    thirty_megabytes: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert peak(thirty_megabytes, tmp_path, *words) < 70, "Python and its imports need 25 to 35 of it"
    if "--whole" in words or "export" in words:
        assert (tmp_path / "out").stat().st_size > 30_000_000, "the output is complete"


def test_pictures_are_in_memory_one_at_a_time(tmp_path: Path) -> None:
    home = written("pictures", tmp_path / "home", 25)
    assert peak(home, tmp_path, "export", "--format", "html") < 70
    assert (tmp_path / "out").read_bytes().count(b"<img") == 2 * 25


@pytest.mark.parametrize("kind", ["deep", "children", "calls"])
def test_trees_that_are_deep_or_wide_are_shown_and_exported_whole(tmp_path: Path, kind: str) -> None:
    size = {"deep": 200, "children": 300, "calls": 1_000}[kind]
    tree = read_tree(session(written(kind, tmp_path, size)))
    agents = [each.agent for each in tree.walk()]
    assert len(agents) == (1 if kind == "calls" else size + 1)
    lines: list[str] = []
    show_tree(tree, Canvas(lines.append))
    Follower(tree.folder, Canvas(lines.append)).show_new()
    assert all(any(agent.rpartition("/")[2] in line for line in lines) for agent in agents[1:])
    assert kind != "calls" or sum("print(" in line for line in lines) >= size
    for format in ("html", "chat", "atif"):
        peak(tmp_path, tmp_path, "export", "--format", format)
        text = (tmp_path / "out").read_text()
        assert all(agent in text for agent in agents)
        assert kind != "calls" or text.count("print(") >= size or text.count("print</span>") >= size


def test_an_output_of_megabytes_in_one_line_is_shown_by_its_ends(tmp_path: Path) -> None:
    tree = read_tree(session(written("output", tmp_path, 5)))
    lines: list[str] = []
    show_tree(tree, Canvas(lines.append))
    assert len(lines) < 60
    assert " ".join(line.strip() for line in lines).count("characters more") == 1
    whole: list[str] = []
    show_tree(tree, Canvas(whole.append), whole=True)
    assert sum(line.count("x") for line in whole) >= 5_000_000


@pytest.mark.parametrize("text", ["x" * 3_000_000, "word " * 600_000, "深" * 300_000, "é" * 999_999 + " "])
def test_a_line_of_megabytes_is_wrapped_in_no_time(text: str) -> None:
    """If the time were not linear, this would take an hour: the time limit of a test ends it."""
    pieces = wrap(text, 80)
    assert "".join(pieces) == text
    assert max(map(columns, pieces)) <= 80


OPENED = """
import json, sys
opened = []
sys.addaudithook(lambda event, given: opened.append(str(given[0])) if event == "open" else None)
from rlm.cli.main import run
code = run(sys.argv[1:])
print(json.dumps(opened), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("words", [("ls",), ("ls", "--json")], ids=" ".join)
def test_ls_opens_one_file_of_a_session_and_never_its_journal(tmp_path: Path, words: tuple[str, ...]) -> None:
    home = written("sessions", tmp_path / "home", 50)
    command: list[str | Path] = [sys.executable, "-c", OPENED, *words, "--home", home]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert sum("the task number" in line for line in done.stdout.splitlines()) == 50
    opened = [path for path in json.loads(done.stderr.splitlines()[-1]) if "meta.json" in path or NAME in path]
    assert (len(opened), [path for path in opened if NAME in path]) == (50, [])
    assert len(list_sessions(home)) == 50
