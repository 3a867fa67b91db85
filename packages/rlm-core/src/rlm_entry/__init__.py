"""Where the command `rlm` begins, before anything of rlm or of its dependencies is imported.

Python puts the folders of PYTHONPATH before its own library. They are for the user's programs: the kernel and its
commands get them. The host must start whatever lies there, a `random.py` or an `rlm.py` too (`PYTHONPATH=.` is common).
A console script cannot tell Python to ignore the variable, as `python -I` would, so the folders leave the search path
here, at no cost. This package is apart from `rlm`, because a module of that name may be what is in the way.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """The console script."""
    if sys.getfilesystemencoding() != "utf-8":
        start_again_in_utf8()
    sys.path[:] = host_path(sys.path, os.environ.get("PYTHONPATH", ""), (sys.prefix, sys.base_prefix))  # noqa: TID251
    from rlm.cli.main import main as run

    run()


def start_again_in_utf8() -> None:
    """Models write UTF-8, and so do nearly all files and programs, whatever the locale says (ISO-8859-1, EUC-JP).

    Python can be told so only when it starts. The words of the command line come in the locale's encoding.
    """
    words = [word.encode("utf-8", "surrogateescape") for word in sys.argv[1:]]
    os.execv(sys.executable, [*map(os.fsencode, (sys.executable, "-X", "utf8", sys.argv[0])), *words])  # noqa: S606 - ourselves, no shell


def host_path(path: list[str], pythonpath: str, prefixes: tuple[str, ...]) -> list[str]:
    """`path` without the folders of `pythonpath`. Those that hold Python's or rlm's own modules come last."""
    if not pythonpath:
        return path
    named = {os.path.abspath(folder) for folder in pythonpath.split(os.pathsep)}  # noqa: PTH100 - pathlib is no builtin
    last = [folder for folder in path if folder in named and _is_ours(folder, prefixes)]
    return [folder for folder in path if folder not in named] + last


def _is_ours(folder: str, prefixes: tuple[str, ...]) -> bool:
    installed = any(folder.startswith(os.path.join(prefix, "lib")) for prefix in prefixes)  # noqa: PTH118
    return installed or any(os.path.isdir(os.path.join(folder, "rlm", part)) for part in ("cli", "skill"))  # noqa: PTH112, PTH118
