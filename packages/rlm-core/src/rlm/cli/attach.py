"""`rlm attach [ID]`: a Jupyter console on the kernel of a running session; the agent keeps using it."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from threading import Event

from rlm.cli.arguments import CommandLine
from rlm.cli.signals import closing_in_order
from rlm.cli.stop import find_running
from rlm.cli.streams import say
from rlm.config.environment import program, state_folder
from rlm.config.readers import SandboxMode
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import ConfigError, SessionError
from rlm.kernel.bridge import connection_file
from rlm.sessions.find import sessions_home
from rlm.sessions.meta import RUNNING
from rlm.sessions.signing_key import key_or_none
from rlm.sessions.store import ListedSession

CONSOLE = "jupyter-console"


def run(line: CommandLine) -> int:
    """
    Raises:
        SessionError: there is no such session, or it is not running.
        ConfigError: the session is in a sandbox, or not this user's.
        KernelError: the session has no kernel now.
    """
    home, key = sessions_home(read_config(line.settings), Path.cwd()), key_or_none(state_folder())
    session = find_running("attach", home, line.id, key)
    check(session, trusted="yes" in line.options)
    with closing_in_order(), connection_file(Path(session.meta.runtime) / session.folder.name) as path:
        return _serve(path)


def _serve(path: Path) -> int:
    console = program(CONSOLE)
    if console is not None:
        signal.signal(signal.SIGINT, lambda *_: None)  # the console handles Ctrl-C
        return subprocess.run([console, "--existing", str(path)], check=False).returncode
    say(
        f"{CONSOLE} is not installed. While this runs, any Jupyter client can use the connection file:\n"
        f"  jupyter console --existing {path}\n  uvx {CONSOLE} --existing {path}\nCtrl-C ends it."
    )
    Event().wait()
    return exit_codes.DONE


def check(session: ListedSession, *, trusted: bool) -> None:
    """
    Raises:
        SessionError: the session is not running.
        ConfigError: what the kernel sends to the console cannot be trusted.
    """
    id, mode = session.folder.name, session.meta.settings.get("sandbox", SandboxMode.OFF)
    if session.meta.status != RUNNING:
        raise SessionError(f"Session {id} is not running: it is {session.meta.status}. To continue it: rlm resume {id}")
    if session.foreign:
        raise ConfigError(f"You did not create session {id} on this machine, so its kernel cannot be trusted.")
    if mode != SandboxMode.OFF and not trusted:
        raise ConfigError(
            f"Session {id} runs in a sandbox. A console runs outside the sandbox, and shows whatever the "
            f"kernel sends. To attach anyway: rlm attach {id} --yes"
        )
