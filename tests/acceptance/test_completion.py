"""behaviour.md, Commands: shells complete the commands and flags of the one table. Only installed shells are tested."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from rlm.cli.command_spec import command_flags
from rlm.cli.flags import COMMANDS, RUN, SPELLINGS
from rlm.sessions import Session
from rlm_testkit.cli import COMMAND, Rlm
from rlm_testkit.journals import KEY
from rlm_testkit.tmux import Terminal
from rlm_testkit.waiting import until

SHELLS = [shell for shell in ("bash", "zsh", "fish") if shutil.which(shell)]
TASK = 'a: task\'s "name" $HOME \x1b[31m'

_BASH = """
source <(rlm completion bash)
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rlm; printf '%s\\n' "${COMPREPLY[@]}"
"""


def by_bash(rlm: Rlm, lines: Sequence[str], _: Path) -> list[str]:
    words = [[*line.split(), *([""] if line.endswith(" ") else [])] for line in lines]
    return [ran(rlm, "bash", "-c", _BASH, "bash", *each) for each in words]


def by_fish(rlm: Rlm, lines: Sequence[str], _: Path) -> list[str]:
    return [ran(rlm, "fish", "-c", f"rlm completion fish | source; complete -C '{line}'") for line in lines]


def by_zsh(rlm: Rlm, lines: Sequence[str], folder: Path) -> list[str]:
    """In an interactive zsh, because it completes nowhere else."""
    setup = "PS1='here: '; autoload -Uz compinit; compinit -u; eval \"$(rlm completion zsh)\""
    (folder / ".zshrc").write_text(setup)
    terminal = Terminal(folder / "tmux", (150, 60), ["zsh"], rlm.cwd, environment(rlm) | {"ZDOTDIR": str(folder)})
    try:
        return [_completed(terminal, line, number) for number, line in enumerate(lines)]
    finally:
        terminal.close()


def _completed(terminal: Terminal, line: str, number: int) -> str:
    """The line at the prompt with this number, once the next prompt is shown."""
    until(lambda: sum(each == "here:" for each in terminal.lines()) == 1, terminal.lines)
    for key in (line, "Tab", f" # end {number}"):
        terminal.press(key)
    screen = terminal.wait_for(f"# end {number}")
    terminal.press("C-c")
    return "\n".join(screen)


COMPLETE = {"bash": by_bash, "zsh": by_zsh, "fish": by_fish}


def environment(rlm: Rlm) -> dict[str, str]:
    return rlm.env() | {"PATH": f"{COMMAND.parent}:{rlm.env()['PATH']}"}


def ran(rlm: Rlm, *words: str) -> str:
    done = subprocess.run(
        words, cwd=rlm.cwd, env=environment(rlm), capture_output=True, text=True, timeout=60, check=True
    )
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_completes_commands_flags_values_and_ids(alone: Rlm, shell: str, tmp_path: Path) -> None:
    home = tmp_path / "else where"
    with Session.create(alone.cwd / ".rlm", model="m", cwd=alone.cwd, prompt=TASK, key=KEY) as session:
        here = session.folder.name
    with Session.create(home, model="m", cwd=alone.cwd, prompt=TASK, key=KEY) as session:
        elsewhere = session.folder.name
    (alone.cwd / "link").symlink_to(home)
    expected = {
        "rlm sh": "show",
        "rlm show --fo": "--follow",
        "rlm --sandbox export --format at": "atif",
        "rlm completion z": "zsh",
        "rlm help pru": "prune",
        "rlm --api resp": "responses",
        f"rlm show {here[:6]}": here,
        f"rlm resume --home link {elsewhere[:6]}": elsewhere,
        "rlm -C li": "link",
    }
    for line, offered in zip(expected, COMPLETE[shell](alone, list(expected), tmp_path), strict=True):
        assert expected[line] in offered, (line, offered)


def test_each_script_has_every_command_and_flag(alone: Rlm) -> None:
    scripts = {shell: alone("completion", shell).out for shell in ("bash", "zsh", "fish")}
    for name, command in COMMANDS.items():
        assert all(f"{name})" in scripts[shell] for shell in ("bash", "zsh"))
        assert f"-a {name} " in scripts["fish"]
        assert all(each.long in scripts["bash"] and each.long in scripts["zsh"] for each in command_flags(command))
    assert all(f" -l {each.long[2:]} " in scripts["fish"] for each in command_flags(RUN) if each.long)
    assert all(spelling in scripts["bash"] for spelling in SPELLINGS)
    assert "completion takes one of bash, zsh, fish" in alone("completion", "tcsh").err
