"""A project that is first on PATH contains programs: the host starts none of them, and none gets a key."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rlm_testkit.cli import Rlm
from rlm_testkit.pseudoterminal import PseudoTerminal
from rlm_testkit.scripted import Answer, Request, Scripted, by_turn, call, text

KEY = "sk-planted-0123456789abcdef"
PROGRAMS = (
    *("arp", "bash", "bwrap", "busybox", "c++", "cat", "cc", "clang", "cp", "env", "file", "gcc", "getconf", "getfacl"),
    *("git", "grep", "hostname", "id", "ifconfig", "ip", "kill", "lanscan", "ld", "ldconfig", "less", "locale", "ls"),
    *("lsb_release", "lsof", "more", "mount", "netstat", "newuidmap", "nm", "nproc", "nvidia-smi", "objdump", "perl"),
    *("pgrep", "ps", "python", "python3", "rm", "sed", "sh", "sleep", "stty", "sw_vers", "sysctl", "test"),
    *("tput", "uname", "unshare", "uv", "which", "xdg-open", "xdg-settings"),
)
Make = Callable[[Scripted], Rlm]


def plant(rlm: Rlm) -> tuple[Rlm, Path]:
    """The command with the project's programs first on its PATH, and the file that lists which of them ran."""
    folder, ran = rlm.cwd / ".venv" / "bin", rlm.folder / "ran"
    folder.mkdir(parents=True)
    path = os.environ["PATH"]
    for name in PROGRAMS:
        program = folder / name
        program.write_text(f'#!/bin/sh\necho {name} >> {ran}\nPATH={path}\nexec {name} "$@"\n')
        program.chmod(0o755)
    return replace(rlm, environment={**rlm.environment, "PATH": f"{folder}:.venv/bin::{path}"}), ran


def script(request: Request) -> Answer:
    answers = [
        call("ipython", code="1 + 1"),
        call("bash", command="echo $((6 * 7))"),
        call("edit", path="file", old_str="a", new_str="b"),
        call("ipython", code="print((await rlm.run('child', tools=['bash'])).answer)"),
        text("end"),
    ]
    return by_turn(*(answers if request.depth == 0 else [call("bash", command="echo child"), text("child")]))(request)


@pytest.mark.parametrize("sandbox", ["off", "bwrap"])
def test_a_run_starts_none_of_the_projects_programs(rlm: Make, sandbox: str) -> None:
    with Scripted(script) as server:
        command, ran = plant(rlm(server))
        (command.cwd / "file").write_text("a\n")
        done = command(
            *("go", "--max-depth", "1", "--tools", "ipython,bash,edit,summarize", "--sandbox", sandbox),
            timeout=120,
            OPENAI_API_KEY=KEY,
            RLM_API_KEY=KEY,
        )
    assert done.code == 0, done.err
    assert [result.split()[0] for result in done.session.results] == ["2", "42", "file", "child"]
    assert not ran.exists(), ran.read_text()


def test_no_command_starts_the_projects_programs(rlm: Make) -> None:
    with Scripted(script) as server:
        command, ran = plant(rlm(server))
        command("go", RLM_TOOLS="")
        for words in ("ls", "show", "export", "skills", "doctor", "help", "--help"):
            done = command(*words.split(), timeout=120, OPENAI_API_KEY=KEY)
            assert done.code in (0, 1), done.err
    assert not ran.exists(), ran.read_text()


def test_the_pager_is_not_the_projects_and_gets_no_key(rlm: Make) -> None:
    with Scripted(*(call("ipython", code=f"{number}") for number in range(10)), text("end")) as server:
        command, ran = plant(rlm(server))
        command("go")
    outside = command.folder / "bin" / "my-pager"
    outside.parent.mkdir(mode=0o755)
    outside.write_text(f'#!/bin/sh\nenv > {command.folder}/environment\ncat "$@"\n')
    outside.chmod(0o755)
    secrets = {"OPENAI_API_KEY": KEY, "GITHUB_TOKEN": KEY, "URL": f"https://me:{KEY}@host", "LANG": "C.UTF-8"}
    with_secrets = replace(command, environment={**command.environment, **secrets})
    for pager in ("cat", str(outside)):
        with PseudoTerminal(with_secrets, "show", lines=10, PAGER=pager) as terminal:
            assert terminal.end() == 0
            assert b"end" in terminal.seen
    reported = (command.folder / "environment").read_text()
    assert "LANG=C.UTF-8" in reported
    assert KEY not in reported
    assert not ran.exists(), ran.read_text()


def test_the_planted_programs_would_be_found(alone: Rlm) -> None:
    """Otherwise these tests could not fail."""
    command, _ = plant(alone)
    assert all(
        shutil.which(name, path=command.env()["PATH"]) == str(command.cwd / ".venv" / "bin" / name) for name in PROGRAMS
    )
