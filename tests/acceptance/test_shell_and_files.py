"""behaviour.md, The model's tools: bash and edit, with the real command."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rlm_testkit import law
from rlm_testkit.cli import Done, Rlm
from rlm_testkit.leftovers import nothing_left
from rlm_testkit.scripted import Scripted, call, text

Make = Callable[[Scripted], Rlm]


def play(rlm: Make, name: str, *wanted: dict[str, Any], **env: str) -> Done:
    """A run with only this tool, and one turn for each of these calls. It ends with an answer, and leaves no process."""
    with Scripted(*(call(name, **arguments) for arguments in wanted), text("end")) as server:
        command = rlm(server)
        done = command("go", RLM_TOOLS=name, **env)
    assert (0, "end\n") == (done.code, done.out), done.err
    law.check(done.session, server)
    nothing_left(command)
    return done


# ---- bash. One run for what a command may do.

COMMANDS = {
    "stdout and stderr in order": ("echo out; echo err >&2; echo out", "out\nerr\nout\n"),
    "a failure tells its exit code": ("echo a; exit 3", "a\n[exit code: 3]"),
    "a command that was killed": ("kill -9 $$", "[exit code: 137]"),
    "no such command": ("no-such-command 2>/dev/null", "[exit code: 127]"),
    "nothing printed": ("true", "[no output]"),
    "it is bash": ("[[ a == a ]] && echo ${BASH_VERSION:0:0}yes", "yes\n"),
    "stdin is closed": ("cat; read -r line; echo over", "over\n"),
    "a variable": ("variable=1; cd /", "[no output]"),
    "and the folder are forgotten": ('echo "$variable"; pwd | grep -c /work$', "\n1\n"),
    "colours and repaints are removed": ("printf '\\033[31mred\\033[0m\\n10%%\\r20%%\\n'", "red\n20%\n"),
    "bytes that are not text": ("printf 'a\\377b\\n'", "a\ufffdb\n"),
    "background processes do not block": ("sleep 1000 & echo on", "on\n"),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The result of each of `COMMANDS`."""
    folder = tmp_path_factory.mktemp("commands")
    commands = [{"command": command} for command, _ in COMMANDS.values()]
    done = play(lambda server: Rlm(folder, {"RLM_BASE_URL": server.url}), "bash", *commands)
    return dict(zip(COMMANDS, done.session.results, strict=True))


@pytest.mark.parametrize("sentence", COMMANDS)
def test_each_command_prints_what_the_table_says(results: dict[str, str], sentence: str) -> None:
    assert COMMANDS[sentence][1] == results[sentence]


def test_a_timeout_keeps_what_was_printed_and_kills_the_whole_group(rlm: Make) -> None:
    deaf = "trap '' INT TERM\n(echo $BASHPID >pid; sleep 1000) & until [ -s pid ]; do :; done; echo before\nwhile true; do sleep 1000; done"
    gone = 'while ps -o stat= -p "$(cat pid)" | grep -qv Z; do sleep 0.05; done; echo gone'
    done = play(rlm, "bash", {"command": deaf, "timeout": 3}, {"command": gone})
    assert done.session.results[0].startswith("before\n[timed out after 3 s")
    assert "gone\n" == done.session.results[1]
    assert [False, True] == [record["ok"] for record in done.session.records if "ok" in record]


def test_a_command_may_take_longer_than_the_default(rlm: Make) -> None:
    done = play(
        rlm,
        "bash",
        {"command": "sleep 2; echo slept", "timeout": 100},
        {"command": "sleep 1000"},
        {"command": "true", "timeout": 0},
        RLM_EXEC_TIMEOUT="1",
    )
    slept, default, zero = done.session.results
    assert "slept\n" == slept
    assert default.startswith("[timed out after 1 s")
    assert "'timeout' must be more than 0 seconds" in zero


def test_a_long_output_is_head_and_tail_and_the_whole_is_kept(rlm: Make) -> None:
    done = play(rlm, "bash", {"command": "printf 'a%.0s' {1..300}; printf 'z%.0s' {1..300}"}, RLM_MAX_OUTPUT="100")
    path = done.session.folder / "outputs" / "bash.txt"
    assert "a" * 300 + "z" * 300 == path.read_text()
    expected = f"{'a' * 50}\n[… 500 characters left out; the full text is in {path} …]\n{'z' * 50}"
    assert expected == done.session.results[0]


# ---- edit


def edit(rlm: Make, *edits: tuple[str, str, str]) -> list[str]:
    wanted = [{"path": path, "old_str": old, "new_str": new} for path, old, new in edits]
    return play(rlm, "edit", *wanted).session.results


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """The working directory of the command."""
    return Rlm(tmp_path).cwd


def test_one_occurrence_is_replaced_and_the_changed_lines_are_shown(rlm: Make, cwd: Path) -> None:
    (cwd / "a.py").write_text("one\ntwo\nthree\nfour")
    (result,) = edit(rlm, ("a.py", "wo\nthree", "WO\nTHREE\nmore"))
    assert "a.py is now:\n2\ttWO\n3\tTHREE\n4\tmore" == result
    assert "one\ntWO\nTHREE\nmore\nfour" == (cwd / "a.py").read_text()


def test_any_other_number_of_occurrences_changes_nothing(rlm: Make, cwd: Path) -> None:
    (cwd / "a.py").write_text("x = 1\ny = 2\nx = 1\n")
    several, none, nowhere, empty, folder = edit(
        rlm, ("a.py", "x = 1", ""), ("a.py", "z", ""), ("no.py", "x", ""), ("a.py", "", "x"), (".", "x", "y")
    )
    assert "old_str occurs 2 times in a.py, at lines 1, 3." in several
    assert "old_str does not occur in a.py" in none
    assert "no.py was not changed: No such file or directory." == nowhere
    assert "old_str is empty" in empty
    assert "is not a file" in folder
    assert "x = 1\ny = 2\nx = 1\n" == (cwd / "a.py").read_text()


def test_mode_link_and_bytes_outside_the_match_are_unchanged(rlm: Make, cwd: Path) -> None:
    real = cwd / "real.txt"
    real.write_bytes(b"\xff\xfe one\r\ntwo\r\nthr\x80ee")
    real.chmod(0o741)
    (cwd / "link.txt").symlink_to("real.txt")
    before = real.stat()
    refused, _ = edit(rlm, ("link.txt", "one\ntwo", "1\n2\n2½"), ("link.txt", "one\ntwo", "1\n2\n2.5"))
    assert "new_str is not ASCII" in refused, "the file does not show how this character would be encoded"
    assert b"\xff\xfe 1\r\n2\r\n2.5\r\nthr\x80ee" == real.read_bytes()
    assert (cwd / "link.txt").is_symlink()
    assert 0o741 == stat.S_IMODE(real.stat().st_mode)
    assert before.st_ino != real.stat().st_ino, "the file was replaced as a whole"
    assert {"real.txt", "link.txt", ".rlm"} == {path.name for path in cwd.iterdir()}, "no other file is left"
