from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from rlm.core.events import Event, OutputReceived
from rlm.core.history import History
from rlm.core.messages import Outcome
from rlm.errors import BadArguments, ToolError
from rlm.process.supervisor import ProcessGroups, Supervisor
from rlm.tools.bash import Bash
from rlm_testkit.leftovers import is_alive
from rlm_testkit.waiting import TIMEOUT, eventually

BASH = Path(shutil.which("bash") or "/bin/sh")


class Shell:
    """A Bash tool in its own folder."""

    def __init__(self, folder: Path, max_output: int | None = None) -> None:
        self.events: list[Event] = []
        self.folder = folder
        environment = {"PATH": os.environ["PATH"], "GREETING": "hello"}
        self.supervisor = Supervisor()
        groups, outputs = ProcessGroups(self.supervisor), folder / "outputs"
        self.tool = Bash(folder, environment, outputs, 300, max_output, self.events.append, groups=groups, shell=BASH)

    def close(self) -> None:
        self.tool.close()
        self.supervisor.__exit__(None, None, None)

    async def run(self, command: str, **more: object) -> Outcome:
        return await self.tool.run({"command": command, **more}, History())

    async def overrun(self, command: str) -> Outcome:
        """Run a command that prints a line and does not end in time. The limit starts after the line, so a slow machine
        is no problem.
        """
        for seconds in (0.3, 3, 30):
            outcome = await self.run(command, timeout=seconds)
            if not outcome.content.startswith("[timed out"):
                break
        return outcome

    @property
    def reported(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, OutputReceived))


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.close()


async def test_stdout_and_stderr_come_in_order(shell: Shell) -> None:
    outcome = await shell.run("echo a; echo b >&2; echo c")
    assert outcome == Outcome("a\nb\nc\n")


async def test_a_failing_command_says_its_exit_code(shell: Shell) -> None:
    assert await shell.run("echo -n x; exit 3") == Outcome("x\n[exit code: 3]", ok=False)


async def test_a_signal_counts_as_a_shell_counts_it(shell: Shell) -> None:
    assert (await shell.run("kill -9 $$")).content == "[exit code: 137]"


async def test_a_silent_command_says_so(shell: Shell) -> None:
    assert await shell.run("true") == Outcome("[no output]")


async def test_each_command_has_a_fresh_shell_in_the_folder_with_the_environment_given(shell: Shell) -> None:
    await shell.run("export KEPT=1; cd /")
    outcome = await shell.run("echo $GREETING $KEPT; pwd; env | grep -c HOME")
    assert outcome.content == f"hello\n{shell.folder}\n0\n[exit code: 1]"


async def test_stdin_is_at_its_end(shell: Shell) -> None:
    assert (await shell.run("cat; echo done")).content == "done\n"


async def test_no_command_waits_for_a_person(shell: Shell) -> None:
    """A kernel's commands get the same variables."""
    assert "No editor is available" in (await shell.run("$EDITOR file", timeout=TIMEOUT)).content
    assert (await shell.run("EDITOR=true; $EDITOR file", timeout=TIMEOUT)).ok
    assert "No such device" in (await shell.run("cat </dev/tty", timeout=TIMEOUT)).content


async def test_output_is_reported_while_the_command_runs(shell: Shell) -> None:
    running = asyncio.create_task(shell.run("echo first; while [ ! -e go ]; do sleep 0.01; done; echo second"))
    await eventually(lambda: shell.reported == "first\n")
    (shell.folder / "go").touch()
    assert (await running).content == shell.reported == "first\nsecond\n"


async def test_invalid_bytes_and_control_characters_do_no_harm(shell: Shell) -> None:
    outcome = await shell.run(
        r"printf '\xff|\x1b[31mred\x1b[0m|50%%\r100%%\n'; printf '\xc3'; sleep 0.05; printf '\xa9'"
    )
    assert outcome.content == shell.reported == "100%d|50%\né"


async def test_a_long_output_is_cut_and_kept_as_a_whole(tmp_path: Path) -> None:
    shell = Shell(tmp_path, max_output=100)
    outcome = await shell.run("seq 1000")
    shell.close()
    assert outcome.content.startswith("1\n2\n")
    assert outcome.content.rstrip().endswith("1000")
    assert "characters left out" in outcome.content
    assert (tmp_path / "outputs/bash.txt").read_text().split() == [str(n) for n in range(1, 1001)]


async def test_a_timeout_keeps_what_was_printed_and_kills_the_whole_group(shell: Shell) -> None:
    outcome = await shell.overrun("sleep 1000 & echo $!; sleep 1000")
    pid, note = outcome.content.split("\n")
    assert re.fullmatch(r"\[timed out after [\d.]+ s: the command and what it started were killed\]", note)
    assert not outcome.ok
    await eventually(lambda: not is_alive(int(pid)))


async def test_a_command_that_ignores_sigterm_is_killed(shell: Shell) -> None:
    outcome = await shell.overrun("trap '' TERM INT; echo $$; while :; do sleep 1000; done")
    pid = int(outcome.content.split("\n")[0])
    assert not is_alive(pid)


async def test_cancelling_kills_the_group(shell: Shell) -> None:
    running = asyncio.create_task(shell.run("sleep 1000 & echo $! $$; wait"))
    await eventually(lambda: "\n" in shell.reported)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    pids = [int(pid) for pid in shell.reported.split()]
    await eventually(lambda: not any(is_alive(pid) for pid in pids))


async def test_background_processes_do_not_block_and_continue_until_the_end(shell: Shell) -> None:
    outcome = await shell.run("touch beat; (while :; do echo noise; echo >> beat; sleep 0.02; done) & echo $!")
    pid = int(next(line for line in outcome.content.split("\n") if line != "noise"))  # in either order
    size = (shell.folder / "beat").stat().st_size
    await eventually(lambda: (shell.folder / "beat").stat().st_size > size + 20)
    assert is_alive(pid)
    shell.close()
    await eventually(lambda: not is_alive(pid))


async def test_a_background_flood_neither_blocks_nor_is_part_of_the_result(shell: Shell) -> None:
    outcome = await shell.run("(until [ -e go ]; do sleep 0.01; done; exec yes) & echo $!")
    (shell.folder / "go").touch()
    written = Path(f"/proc/{int(outcome.content)}/io")
    # more than a pipe holds, so something must read it
    await eventually(lambda: int(written.read_text().split("wchar: ")[1].split()[0]) > 300_000)
    assert shell.reported == outcome.content


async def test_nothing_is_left_when_our_own_process_is_killed(tmp_path: Path) -> None:
    program = f"""
import asyncio, os
from pathlib import Path
from rlm.core.history import History
from rlm.process.supervisor import ProcessGroups, Supervisor
from rlm.tools.bash import Bash
async def main():
    groups = ProcessGroups(Supervisor())
    tool = Bash(Path({str(tmp_path)!r}), os.environ, Path({str(tmp_path)!r}), 300, None, lambda event: None, groups=groups, shell=Path("/bin/bash"))
    await tool.run({{"command": "sleep 1000 & echo $! > left"}}, History())
    await tool.run({{"command": "echo $$ > running; sleep 1000"}}, History())
asyncio.run(main())
"""
    ours = subprocess.Popen([sys.executable, "-c", program])
    files = [tmp_path / "left", tmp_path / "running"]
    await eventually(lambda: all(file.exists() and file.read_text().endswith("\n") for file in files))
    ours.send_signal(signal.SIGKILL)
    ours.wait()
    await eventually(lambda: not any(is_alive(int(file.read_text())) for file in files))


async def test_an_ended_process_group_is_forgotten(shell: Shell) -> None:
    for _ in range(3):
        await shell.run("sleep 0.01 & wait")
    before = psutil.Process().num_fds()
    for _ in range(10):
        await shell.run("echo x")
    await eventually(lambda: psutil.Process().num_fds() <= before)


@pytest.mark.parametrize(
    ("folder", "command", "says"),
    [
        ("gone", "true", "No such file or directory: .*gone"),
        (".", "echo \0", "null byte"),
        (".", "echo \ud800", "surrogates"),
    ],
    ids=["no such folder", "a zero byte", "a lone surrogate"],
)
async def test_a_command_that_cannot_be_started_is_reported_to_the_model(
    tmp_path: Path, folder: str, command: str, says: str
) -> None:
    shell = Shell(tmp_path / folder)
    with closing(shell), pytest.raises(ToolError, match=says):
        await shell.run(command)


async def test_a_timeout_must_be_a_time(shell: Shell) -> None:
    for seconds in (0, -1, float("nan")):
        with pytest.raises(BadArguments, match="more than 0"):
            await shell.run("true", timeout=seconds)


async def test_the_schema_is_terse_and_stable(shell: Shell) -> None:
    assert shell.tool.schema() == shell.tool.schema()
    assert list(shell.tool.schema()["parameters"]["properties"]) == ["command", "timeout"]
