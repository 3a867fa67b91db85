"""Magics that differ from a notebook's: `%pip`, and those that cannot work here and say why, in a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rlm.inside import packages
from rlm.inside.jupyter import UsageError

_NOBODY = "nobody is there to type"
_CANNOT = {
    "edit": f"%edit opens an editor, and {_NOBODY}. Write the file with %%writefile, or change it in Python.",
    "ed": f"%ed opens an editor, and {_NOBODY}. Write the file with %%writefile, or change it in Python.",
    "store": "%store keeps nothing here. Save variables to files; with RLM_CHECKPOINT=1 rlm saves them itself.",
    "subshell": "%subshell: this kernel has no subshells.",
    "connect_info": "%connect_info: only rlm connects to this kernel.",
    "qtconsole": f"%qtconsole opens a window, and {_NOBODY}.",
}


def register(shell: Any) -> None:
    for name, why in _CANNOT.items():
        shell.register_magic_function(_refusal(why), "line", name)
    shell.register_magic_function(lambda line: _pdb(shell, line), "line", "pdb")
    shell.register_magic_function(lambda _: shell.display_pub.clear_output(), "line", "clear")
    shell.register_magic_function(lambda line: packages.pip(shell, line), "line", "pip")
    shell.register_magic_function(lambda line: _uv(shell, line), "line", "uv")


def _refusal(why: str) -> Callable[[str], None]:
    def refuse(_: str) -> None:
        raise UsageError(why)

    return refuse


def _pdb(shell: Any, line: str) -> None:
    """`%pdb off` is a matter of course."""
    if line.strip().lower() in {"off", "0"}:
        shell.call_pdb = False
    else:
        raise UsageError(f"%pdb opens a debugger at errors, and {_NOBODY}. Look at the traceback, or print.")


def _uv(shell: Any, line: str) -> None:
    """`%uv pip …` is `%pip …`; all else is uv's own."""
    first, _, rest = line.strip().partition(" ")
    if first == "pip":
        packages.pip(shell, rest)
    else:
        shell.system(f"uv {line}")
