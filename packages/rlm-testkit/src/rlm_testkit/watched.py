"""Runs a command with a terminal as its stderr, so that the model's text is streamed."""

from __future__ import annotations

import os
import pty
import subprocess
import threading

from rlm_testkit.cli import COMMAND, Done, Rlm
from rlm_testkit.waiting import TIMEOUT


def watched(rlm: Rlm, *words: str, timeout: float = TIMEOUT, **env: str) -> Done:
    """Run `rlm WORDS`; `err` is all output to the terminal."""
    parent_end, child_end = pty.openpty()
    process = subprocess.Popen(
        [str(COMMAND), *words],
        cwd=rlm.cwd,
        env=rlm.env(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=child_end,
        start_new_session=True,
    )
    os.close(child_end)
    output: list[bytes] = []
    listener = threading.Thread(target=_listen, args=(parent_end, output))
    listener.start()
    out, _ = process.communicate(timeout=timeout)
    listener.join(timeout)
    os.close(parent_end)
    return Done(process.returncode, out.decode(), b"".join(output).decode(), rlm.cwd)


def _listen(end: int, output: list[bytes]) -> None:
    """Read until the other end is closed."""
    while True:
        try:
            data = os.read(end, 65_536)
        except OSError:
            return
        if not data:
            return
        output.append(data)
