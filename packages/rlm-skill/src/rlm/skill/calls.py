"""Count the calls of a skill's command. The only reader of the environment in `rlm.skill`."""

import os
from contextlib import suppress

VARIABLE = "RLM_SKILL_CALLS_LOG"


def log_call(name: str) -> None:
    """Append a line with the skill's name to the file that RLM_SKILL_CALLS_LOG names.

    One write with O_APPEND, so commands that run at once do not mix their lines. Unset, unwritable, or a pipe that
    nobody reads: nothing is counted, and the command goes on.
    """
    path = os.environ.get(VARIABLE)  # noqa: TID251 - the one place here that reads it
    if not path:
        return
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    with suppress(OSError, ValueError):
        descriptor = os.open(path, flags, 0o600)  # noqa: TID251 - in a kernel
        try:
            os.write(descriptor, f"{name}\n".encode())
        finally:
            os.close(descriptor)
