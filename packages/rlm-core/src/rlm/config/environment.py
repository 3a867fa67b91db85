"""The only reader of the environment that rlm was started with."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from rlm.config.harness_variables import NAMES, unknown_skills
from rlm.config.settings import Config, variable
from rlm.process.programs import SHELL, find_program

original: dict[str, str] = {}
"""The environment before `credentials.take_environment` changed it. Empty in a program that imports rlm."""


def environment(environ: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return `environ`; if it is None, the environment that this process was started with."""
    return original or os.environ if environ is None else environ


BROKER = "RLM_BROKER"
"""In a kernel: the socket of its host, and the token that identifies the agent, as `path:token`."""


def broker_address(environ: Mapping[str, str] | None = None) -> tuple[str, str] | None:
    """Return the path of the socket and the token, if a cell started this process."""
    text = environment(environ).get(BROKER, "")
    path, found, token = text.rpartition(":")
    return (path, token) if found else None


def program(name: str, environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the program of this name on PATH, from a folder where no cell can have put it."""
    return find_program(name, environment(environ).get("PATH", os.defpath), [Path.cwd()])


def shell_program() -> Path:
    """Return bash, or /bin/sh if there is no bash."""
    return program("bash") or Path(SHELL)


def is_dumb_terminal(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the environment says that the terminal knows no escape codes."""
    return environment(environ).get("TERM", "") in ("", "dumb", "unknown")


def is_ci(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the output goes to the log of a CI service: some give their jobs a terminal that nobody sees."""
    return environment(environ).get("CI", "").lower() not in ("", "0", "false", "no")


class PictureProtocol(StrEnum):
    KITTY = "kitty"
    ITERM2 = "iterm2"
    SIXEL = "sixel"


_PROTOCOLS = (
    ("TERM", ("xterm-kitty", "xterm-ghostty"), PictureProtocol.KITTY),
    ("TERM_PROGRAM", ("ghostty",), PictureProtocol.KITTY),
    ("TERM_PROGRAM", ("iTerm.app", "WezTerm", "mintty"), PictureProtocol.ITERM2),
    ("TERM", ("foot", "foot-extra", "mlterm", "contour", "xterm-sixel"), PictureProtocol.SIXEL),
    ("LC_TERMINAL", ("iTerm2",), PictureProtocol.ITERM2),  # also over ssh
)
"""Variables by which terminals identify themselves. An unidentified terminal may print unknown codes as text."""


def picture_protocol(environ: Mapping[str, str] | None = None) -> PictureProtocol | None:
    """Return how the terminal displays pictures; None if that is unknown, or a multiplexer is in between."""
    environ = environment(environ)
    if _is_multiplexed(environ) or is_dumb_terminal(environ):
        return None
    return next((found for name, values, found in _PROTOCOLS if environ.get(name) in values), None)


def takes_notifications(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the terminal displays desktop notifications (OSC 9), and no multiplexer is in between."""
    environ = environment(environ)
    known = any(environ.get(name) in values for name, values in _NOTIFYING)
    return known and not _is_multiplexed(environ) and not is_dumb_terminal(environ)


_NOTIFYING = (
    ("TERM", ("xterm-kitty", "xterm-ghostty")),
    ("TERM_PROGRAM", ("ghostty", "iTerm.app", "WezTerm")),
    ("LC_TERMINAL", ("iTerm2",)),
)


def _is_multiplexed(environ: Mapping[str, str]) -> bool:
    return "TMUX" in environ or "STY" in environ or environ.get("TERM", "").startswith(("tmux", "screen"))


def state_folder(environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the folder for lasting files of this user's programs; None if the environment names no home."""
    environ = environment(environ)
    state, home = Path(environ.get("XDG_STATE_HOME", "")), Path(environ.get("HOME", ""))
    if state.is_absolute():  # by the XDG specification a relative one is ignored
        return state
    return home / ".local" / "state" if home.is_absolute() else None


def network_settings(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables for proxies and certificates, by name."""
    environ = os.environ if environ is None else environ
    return {name: value for name, value in environ.items() if name.upper() in _NETWORK}


_NETWORK = frozenset(
    ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
)


def is_on(name: str, flags: Mapping[str, str], environ: Mapping[str, str] | None = None) -> bool:
    """Whether a flag or a variable switches a setting on. Never fails, also if other settings are invalid."""
    text = environment(environ).get(variable(name), "")
    return name in flags or text.strip().lower() in ("1", "on", "true", "yes")


_NO_SETTINGS = (
    # between rlm and the programs that it starts
    "RLM_BROKER",
    "RLM_SKILL_CALLS_LOG",
    "RLM_MARK",
    "RLM_SANDBOXED",
    "RLM_BATCH_SECRETS",
    # install.sh
    "RLM_SKILLS_DIR",
    "RLM_CHECKOUT_PATH",
    "RLM_TOOL_PYTHON",
    "RLM_EXTRA_UV_ARGS",
    "RLM_SKILLS_STRICT",
)
"""Variables of rlm that are no settings."""


def prepare_ray() -> None:
    """Configure Ray before its start: no statistics, and no upload of the working directory under `uv run`.

    Values that the user has set stay.
    """
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_UV_RUN_RUNTIME_ENV"):
        os.environ.setdefault(name, "0")
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "5")  # to connect, instead of 20: a refused token stays refused


def without_effect(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return a line for each unknown variable that looks like a setting, with the nearest setting if there is one."""
    environ = environment(environ)
    known = [*map(variable, Config.settings()), *_NO_SETTINGS, *NAMES]
    unknown = sorted(name for name in environ if name.startswith("RLM_") and name not in known)
    nearest = {name: next(iter(difflib.get_close_matches(name, known, 1)), "") for name in unknown}
    lines = [
        f"{name} is not a setting and has no effect" + (f": did you mean {near}?" if near else ".")
        for name, near in nearest.items()
    ]
    if skills := unknown_skills(environ):
        lines.append(f"RLM_SKILLS names skills that rlm does not have: {', '.join(skills)}.")
    return lines
