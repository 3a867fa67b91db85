"""A real terminal, and its contents as a user sees them."""

from __future__ import annotations

import itertools
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rlm_testkit.waiting import TIMEOUT, until


@contextmanager
def terminals(folder: Path) -> Iterator[Callable[..., Terminal]]:
    """A function that opens a `Terminal` with these arguments. Their sockets are in `folder`; all are closed at the end."""
    with ExitStack() as stack:
        numbers = itertools.count()

        def open_terminal(
            command: list[str], size: tuple[int, int], cwd: Path | None = None, env: Mapping[str, str] | None = None
        ) -> Terminal:
            terminal = Terminal(folder / f"tmux{next(numbers)}", size, command, cwd, env)
            stack.callback(terminal.close)
            return terminal

        yield open_terminal


class Terminal:
    """Runs one shell command. After its end, `over` and its status are below its output."""

    def __init__(
        self,
        socket: Path,
        size: tuple[int, int],
        command: list[str],
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`size`: columns and lines. `env`: the whole environment, instead of this process's."""
        self._tmux = ["tmux", "-u", "-S", str(socket), "-f", "/dev/null"]
        self._env = env
        line = " ".join(command)
        columns, lines = map(str, size)
        options = ["-c", str(cwd)] if cwd else []
        command_line = f"trap : INT; PYTHONUTF8=1 {line}; echo over $?; cat"
        self._run("new-session", "-d", *options, "-x", columns, "-y", lines, command_line)

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self._tmux, *arguments], check=True, capture_output=True, timeout=TIMEOUT, env=self._env
        )
        return done.stdout.decode()

    def lines(self, *options: str) -> list[str]:
        return self._run("capture-pane", "-p", *options).rstrip("\n").split("\n")

    def wait_for(self, *texts: str) -> list[str]:
        """Wait until all of these texts are on the screen; return its lines."""
        until(lambda: all(text in "\n".join(self.lines()) for text in texts), lambda: (texts, self.lines()))
        return self.lines()

    def settled(self, *texts: str) -> list[str]:
        """Wait until all of these texts are shown and the screen no longer changes, so that it is completely drawn."""
        before: list[str] = []

        def still() -> bool:
            nonlocal before
            older, before = before, self.lines()
            return older == before and all(text in "\n".join(before) for text in texts)

        until(still, lambda: (texts, before))
        return before

    def press(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def paste(self, file: Path) -> None:
        """Paste a file as a user does, with paste marks if the program requests them."""
        self._run("load-buffer", "-b", "paste", str(file))
        self._run("paste-buffer", "-p", "-b", "paste")

    def record(self, file: Path) -> None:
        """Copy the program's output from now on to a file, including escape sequences."""
        self._run("pipe-pane", f"cat > {shlex.quote(str(file))}")

    def resize(self, columns: int, lines: int) -> None:
        self._run("resize-window", "-x", str(columns), "-y", str(lines))

    def close(self) -> None:
        self._run("kill-server")
