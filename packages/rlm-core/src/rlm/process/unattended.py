"""The environment of programs that run without a user: there is no screen, no keyboard and no editor.

A program that would wait for a person fails at once with a message: an editor (git commit, crontab -e), a question
(git's, pip's), a window for a password. A command that sets its own EDITOR or GIT_EDITOR, or says `git -c
core.editor=…`, gets that editor.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

_NO_EDITOR = f"{sys.executable} -IS {Path(__file__).with_name('no_editor.py')}"
_WITHOUT_PERSON = {":", "true", "/bin/true", "cat"}  # editors that a user may have set for this purpose

_SET = {
    "TERM": "dumb",  # no colours and no repainting: the model reads text
    "PYTHONUNBUFFERED": "1",  # keeps the output of a script that is interrupted
    "GIT_TERMINAL_PROMPT": "0",
    "GCM_INTERACTIVE": "never",
    "SSH_ASKPASS_REQUIRE": "never",
    "DEBIAN_FRONTEND": "noninteractive",
    "PIP_NO_INPUT": "1",
    "GH_PROMPT_DISABLED": "1",
    # vim waits for ever if its input is no terminal. VimEnter comes after all `-c` commands, so scripts still work.
    "VIMINIT": 'if has("nvim") | runtime! init.vim init.lua | else | set noswapfile '
    '| autocmd VimEnter * if !has("ttyin") | cquit | endif | endif',
} | dict.fromkeys(
    ("PAGER", "GIT_PAGER", "MANPAGER", "SYSTEMD_PAGER", "AWS_PAGER", "GH_PAGER", "BAT_PAGER", "PSQL_PAGER"), "cat"
)

_EDITORS = (
    *("EDITOR", "VISUAL", "GIT_EDITOR", "GIT_SEQUENCE_EDITOR", "HGEDITOR", "SVN_EDITOR", "JJ_EDITOR", "FCEDIT"),
    *("SUDO_EDITOR", "SYSTEMD_EDITOR", "KUBE_EDITOR", "BUNDLER_EDITOR"),
)
_UNSET = ("SSH_ASKPASS", "SUDO_ASKPASS", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE")
_OF_A_KERNEL = ("JPY_", "PYDEVD_", "IPY_INTERRUPT_EVENT")
"""Prefixes of variables that Jupyter sets for its kernels. rlm may run in one, but its commands do not."""

# git appends `"$@"` to an editor with shell syntax: the comment absorbs it.
_GIT_CONFIG = {
    "core.editor": r'eval "${VISUAL:-$EDITOR} \"\$1\"" #',  # overrides the one in the user's own configuration
    "sequence.editor": r'eval "$(git var GIT_EDITOR) \"\$1\"" #',
}


def unattended(environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment`, changed for programs without a user."""
    kept = {name: value for name, value in environment.items() if not _is_dropped(name, value)}
    return {"EDITOR": _NO_EDITOR} | kept | _SET | _git_config(kept)


def _is_dropped(name: str, value: str) -> bool:
    if name in _EDITORS:
        return value not in _WITHOUT_PERSON
    if name == "MPLBACKEND":  # a notebook's backend, which other Pythons may not have
        return value.startswith(("module://matplotlib_inline", "module://ipykernel"))
    return name in _UNSET or name.startswith(_OF_A_KERNEL)


def _git_config(environment: Mapping[str, str]) -> dict[str, str]:
    """Add our settings by GIT_CONFIG_COUNT (git-config(1)): after existing ones; `git -c` still wins."""
    try:
        count = int(environment.get("GIT_CONFIG_COUNT") or 0)
    except ValueError:
        count = 0
    added = {"GIT_CONFIG_COUNT": str(count + len(_GIT_CONFIG))}
    for number, (key, value) in enumerate(_GIT_CONFIG.items(), count):
        added |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return added
