"""docs/sessions.md, Whose session it is: a stranger's session is read but never run, and resume keeps the sandbox."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
from rlm_testkit.cli import Done, Rlm

pytestmark = pytest.mark.attack("sessions of others")

EVIL = "open('pwned', 'w').close()"


class Payload:
    """An object that creates a file when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (EVIL,)


def recording(folder: Path, *cells: str, name: str = "turns.jsonl") -> str:
    """Write a recording of an agent that runs these cells; return the model's name for it."""
    turns = [
        {"id": f"c{n}", "type": "function", "function": {"name": "ipython", "arguments": json.dumps({"code": code})}}
        for n, code in enumerate(cells)
    ]
    with_calls = [{"role": "assistant", "content": None, "tool_calls": [turn]} for turn in turns]
    messages = [*with_calls, {"role": "assistant", "content": "the answer"}]
    lines = [json.dumps({"task": "go", "message": message}) for message in messages]
    (folder / name).write_text("\n".join(lines) + "\n")
    return f"replay:{name}"


def run_once(rlm: Rlm, *flags: str, cells: tuple[str, ...] = (), **env: str) -> Done:
    """A finished run. Without cells it has no kernel, and is quick."""
    tools = () if cells else ("--tools", "")
    done = rlm("--model", recording(rlm.cwd, *cells), *tools, *flags, "go", **env)
    assert done.code == 0, done.err
    return done


def forge(folder: Path, **fields: object) -> None:
    meta = folder / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | fields))


@pytest.fixture
def cloned(tmp_path: Path) -> tuple[Rlm, str]:
    """A user in a repository that contains a session, and the session's id. The session tries to run code in three
    ways.
    """
    stranger, user = Rlm(tmp_path / "stranger"), Rlm(tmp_path / "user")
    folder = run_once(stranger, cells=(EVIL,)).session.folder
    (stranger.cwd / "pwned").unlink()
    (folder / "variables.pickle").write_bytes(pickle.dumps(({"x": pickle.dumps(Payload())}, {})))
    forge(folder, cwd=str(user.cwd), start_time=9e9, updated_time=9e9, end_time=9e9)
    shutil.copytree(stranger.cwd, user.cwd, dirs_exist_ok=True)
    return user, folder.name


def test_a_session_in_a_cloned_repository_runs_nothing(cloned: tuple[Rlm, str]) -> None:
    rlm, id = cloned
    before = {path: path.read_bytes() for path in rlm.cwd.rglob("*") if path.is_file()}
    for words in (
        ("resume",),
        ("resume", "more"),
        ("resume", id),
        ("resume", id[:5], "more"),
        ("resume", id, "--replay"),
        ("resume", id, "--fork"),
        ("resume", id, "--fork", "--replay", "--here"),
        ("resume", id, "--model", "replay:turns.jsonl", "--sandbox", "off"),
    ):
        done = rlm(*words)
        assert (done.code, done.out) == (2, ""), words
        assert "You did not create" in done.err
        assert len(done.err.splitlines()) <= 2
    for own_command in (("show", id), ("export", id), ("export", "--format", "ipynb", "*"), ("ls",), ("ls", "--json")):
        assert rlm(*own_command).code == 0, own_command
    assert rlm("show").code != 0
    assert rlm("export").code != 0
    assert {path: path.read_bytes() for path in rlm.cwd.rglob("*") if path.is_file()} == before
    assert not (rlm.cwd / "pwned").exists()


def test_a_newer_foreign_session_is_marked_and_not_used_by_default(cloned: tuple[Rlm, str]) -> None:
    rlm, foreign = cloned
    own = next(each for each in run_once(rlm).sessions if each.folder.name != foreign)
    rows = {line.split()[0]: line for line in rlm("ls").out.splitlines()}
    assert "foreign" in rows[foreign]
    assert "foreign" not in rows[own.folder.name]
    marks = {row["session_id"]: row["foreign"] for row in map(json.loads, rlm("ls", "--json").out.splitlines())}
    assert marks == {foreign: True, own.folder.name: False}
    assert own.folder.name in rlm("show").out
    assert own.folder.name in rlm("resume", "more").err


def test_trust_shows_first_what_would_run_and_makes_the_session_the_users_own(cloned: tuple[Rlm, str]) -> None:
    rlm, id = cloned
    done = rlm("resume", id, "--replay", "--trust", "more")
    assert done.code == 0, done.err
    notice = done.err[: done.err.index("sandbox off")]
    for word in (str(rlm.cwd), "sandbox: off", "replay:turns.jsonl", "1 recorded cells", "--replay"):
        assert word in notice
    assert (rlm.cwd / "pwned").exists(), "this is what the notice warned of"
    assert rlm("resume", id, "more").code == 0


PLANTED = {
    "a link": lambda rlm: (rlm / ".rlm").symlink_to(rlm.parent / "home"),
    "sessions is a link": lambda rlm: ((rlm / ".rlm").mkdir(), (rlm / ".rlm" / "sessions").symlink_to(rlm.parent)),
    "a file": lambda rlm: (rlm / ".rlm").touch(),
    "sessions is a file": lambda rlm: ((rlm / ".rlm").mkdir(), (rlm / ".rlm" / "sessions").touch()),
    "a pipe": lambda rlm: os.mkfifo(rlm / ".rlm"),
    "sessions is a pipe": lambda rlm: (
        (rlm / ".rlm").mkdir(),
        os.mkfifo(rlm / ".rlm" / "sessions"),  # type: ignore[func-returns-value]  # the second step, of no value
    ),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_a_planted_folder_for_sessions_is_one_clear_error(alone: Rlm, plant: Any) -> None:
    plant(alone.cwd)
    home = sorted(alone.folder.rglob("home/**/*"))
    for words in (("go",), ("ls",), ("resume",), ("show",), ("export",)):
        done = alone("--model", recording(alone.cwd), "--tools", "", *words) if words == ("go",) else alone(*words)
        assert done.code in (1, 2) or words == ("ls",), (words, done)
        assert len(done.err.splitlines()) == 1, done.err
    left = [path for path in alone.folder.rglob("home/**/*") if path not in home]
    assert [path for path in left if "session-key" not in path.name and path.suffix] == []


def test_planted_sessions_with_strange_contents_are_ignored(alone: Rlm) -> None:
    sessions = alone.cwd / ".rlm" / "sessions"
    for number in range(6):
        (sessions / (f"{number}" * 12)).mkdir(parents=True)
    for name, digit in (("meta.json", "0"), ("messages.jsonl", "1")):
        os.mkfifo(sessions / (digit * 12) / name)
    with (sessions / ("2" * 12) / "meta.json").open("wb") as giant:
        os.truncate(giant.fileno(), 1 << 36)
    (sessions / ("3" * 12) / "meta.json").symlink_to("/etc/passwd")
    (sessions / ("4" * 12) / "meta.json").mkdir()
    odd = {"session_id": "5" * 12, "turns": 10**400, "start_time": float("inf"), "updated_time": float("-inf")}
    odd |= {"usage": {"prompt_tokens": "x"}, "metrics": {"agents": "y"}, "tree_usage": [], "depth": True, "cwd": 3}
    (sessions / ("5" * 12) / "meta.json").write_text(json.dumps(odd))
    assert alone("ls").out.count("foreign") == 1
    done = run_once(alone)
    assert "rlm resume" in done.err
    assert alone("resume", "more").code == 0


# ---- saved variables


def test_variables_of_another_user_are_not_loaded(alone: Rlm) -> None:
    saved = run_once(alone, cells=("x = 5",), RLM_CHECKPOINT="1").session.folder / "variables.pickle"
    assert "not restored" not in alone("resume", "more").err
    saved.write_bytes(pickle.dumps(({"x": pickle.dumps(Payload())}, {})))
    done = alone("resume", "more")
    assert "The variables of this session are not restored: variables.pickle is not the file" in done.err
    saved.unlink()
    saved.symlink_to(alone.cwd / "turns.jsonl")
    assert "not restored: variables.pickle cannot be read" in alone("resume", "more").err
    assert not (alone.cwd / "pwned").exists()


def test_variables_from_a_sandbox_are_loaded_only_in_a_sandbox(alone: Rlm) -> None:
    run_once(alone, "--sandbox", cells=("x = 5",), RLM_CHECKPOINT="1")
    boxed = alone("resume", "more")
    assert "x." in next(m["content"] for m in boxed.session.messages if "Restored: " in str(m["content"]))
    bare = alone("resume", "--sandbox", "off", "more")
    assert "not restored: they were saved in a sandbox, and this run has none." in bare.err
    *_, asked = bare.session.requests()
    assert sum(str(message["content"]).count("names of earlier cells are lost: x") for message in asked) == 1


def test_no_cell_in_a_sandbox_sees_the_key_to_sign_sessions_with(alone: Rlm) -> None:
    state = alone.folder.resolve().with_name(f"{alone.folder.name}-state")
    look = (
        f"import os; print(os.path.exists({str(state / 'rlm' / 'session-key')!r}), os.listdir({str(state / 'rlm')!r}))"
    )
    places = [
        state,
        *([Path("/opt") / state.name] if os.access("/opt", os.W_OK) else []),
    ]  # the other one is not hidden
    for state_home in places:
        try:
            done = run_once(
                alone, "--sandbox", cells=(look.replace(str(state), str(state_home)),), XDG_STATE_HOME=str(state_home)
            )
            assert (state_home / "rlm" / "session-key").exists()
            assert "True" not in done.sessions[-1].results[-1]
        finally:
            shutil.rmtree(state_home, ignore_errors=True)
            shutil.rmtree(alone.cwd / ".rlm")


# ---- resume keeps the sandbox


def test_the_settings_of_a_run_are_restored_and_differences_are_reported(alone: Rlm) -> None:
    done = run_once(alone, "--max-turns", "7", "--max-depth", "1", RLM_EXEC_TIMEOUT="9", RLM_API_KEY="sk-secret-secret")
    settings = done.session.meta["settings"]
    assert (settings["max_turns"], settings["max_depth"], settings["exec_timeout"]) == ("7", "1", "9")
    assert "sk-secret" not in (done.session.folder / "meta.json").read_text()
    again = alone("resume", "more")
    (notice,) = (line for line in again.err.splitlines() if line.startswith("Resumed"))
    assert (
        "Resumed as before: --max-turns 7, --max-depth 1, --exec-timeout 9, --tools none. So far: 1 turn on: go"
        == notice
    )
    assert again.session.meta["settings"] == settings
    other = alone("resume", "--max-turns", "70", "more", RLM_MAX_DEPTH="3", RLM_QUIET="", RLM_OUTPUT="")
    (notice,) = (line for line in other.err.splitlines() if line.startswith("Resumed"))
    assert notice.startswith(
        "Resumed with --max-turns 70 (was 7), --max-depth 3 (was 1); as before: --exec-timeout 9, --tools none."
    )
    assert other.session.meta["settings"] == settings | {"max_turns": "70", "max_depth": "3"}


def test_no_variable_lowers_the_sandbox_of_a_session(alone: Rlm) -> None:
    run_once(alone, "--sandbox", "--sandbox-memory", "2048")
    for variables in ({"RLM_SANDBOX": "off"}, {"RLM_SANDBOX_NET": "1"}, {"RLM_SANDBOX_MEMORY": "4096"}):
        done = alone("resume", "more", **variables)
        assert "sandbox bwrap ·" in done.err
        assert f"{next(iter(variables))} cannot lower it" in done.err
        assert done.session.meta["settings"]["sandbox"] == "bwrap"
        assert done.session.meta["settings"]["sandbox_memory"] == "2048"
        assert done.session.meta["settings"].get("sandbox_net", "off") == "off"
    assert "--sandbox off (was bwrap)" in (off := alone("resume", "more", "--sandbox", "off")).err
    assert off.session.meta["settings"]["sandbox"] == "off"
    assert "sandbox bwrap ·" in alone("resume", "more", RLM_SANDBOX="bwrap").err


def test_files_outside_the_working_directory_must_be_named_again(alone: Rlm) -> None:
    outside = alone.folder / "data.txt"
    outside.write_text("data")
    id = run_once(alone, "--context", str(outside)).session.folder.name
    refused = alone("resume", id, "more")
    assert refused.code == 2
    assert f"rlm resume {id} --context {outside}" in refused.err
    assert alone("resume", id, "more", "--context", str(outside)).code == 0
    assert alone("resume", id, "more", "--context", "").code == 0
    assert alone("resume", id, "more").code == 0, "the option no longer belongs to the session"


def test_a_link_that_replaced_a_file_is_not_followed(alone: Rlm) -> None:
    (alone.cwd / "data.txt").write_text("data")
    id = run_once(alone, "--context", "data.txt").session.folder.name
    (alone.cwd / "data.txt").unlink()
    (alone.cwd / "data.txt").symlink_to("/etc/passwd")
    assert "Set it again" in alone("resume", id, "more").err


def test_a_session_of_another_folder_shows_how_to_continue(alone: Rlm) -> None:
    home = str(alone.cwd / ".rlm")
    run_once(alone)
    moved = Rlm(alone.folder / "moved", {**alone.environment, "HOME": str(alone.folder / "home")})
    shutil.copy(alone.cwd / "turns.jsonl", moved.cwd)
    elsewhere = moved("resume", "--home", home, "more")
    assert elsewhere.code == 2
    assert f"cd {alone.cwd} && rlm resume" in elsewhere.err
    shutil.rmtree(moved.cwd)
    alone.cwd.rename(moved.cwd)
    removed = moved("resume", "more")
    assert removed.code != 0
    assert "--here" in removed.err
    assert moved("resume", "--here", "more").code == 0
    assert moved("resume", "more").code == 0


def test_without_a_home_sessions_are_not_signed_and_need_trust(alone: Rlm) -> None:
    bare = Rlm(alone.folder, {"HOME": ""})
    id = run_once(bare).session.folder.name
    assert bare("resume", id, "more").code == 2
    assert bare("resume", id, "--trust", "more").code == 0
