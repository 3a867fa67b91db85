"""`rlm show [ID]`: a session as a tree, each agent under the cell that started it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rlm.cli import exits
from rlm.cli.arguments import add_settings, parser, settings_given
from rlm.cli.page import console, paged
from rlm.config import Config, read_config
from rlm.session.meta import RUNNING, settled
from rlm.session.show import show_tree
from rlm.session.store import find, meta_of, read_tree

PAUSE = 0.5
"""Seconds between looks at a session that is followed."""


def run(argv: Sequence[str]) -> int:
    """
    Raises:
        SessionError: there is no such session.
    """
    made = parser("rlm show", "Read a session as a tree: the newest, or the one whose id begins so.")
    made.add_argument("-f", "--follow", action="store_true", help="go on until the session ends")
    made.add_argument("--whole", action="store_true", help="outputs are not cut")
    add_settings(made, "home", "color")
    made.add_argument("id", nargs="?", help="twelve hex digits, or as many of the first as are unique")
    given = made.parse_args(argv)
    config = read_config(settings_given(given))
    folder = find(config.home.absolute(), given.id)
    if given.follow:
        return _follow(folder, config, whole=given.whole)
    with paged(config) as out:
        show_tree(read_tree(folder), out, whole=given.whole)
    return exits.DONE


def _follow(folder: Path, config: Config, *, whole: bool) -> int:
    """On a terminal its newest lines until it ends; then, or else, all of it."""
    out = console(config)
    while settled(meta_of(folder), folder).status == RUNNING:
        if out.is_terminal:
            _show_end(folder, config, whole=whole)
        time.sleep(PAUSE)
    if out.is_terminal:
        out.clear()
    show_tree(read_tree(folder), out, whole=whole)
    return exits.DONE


def _show_end(folder: Path, config: Config, *, whole: bool) -> None:
    out = console(config)
    with out.capture() as captured:
        show_tree(read_tree(folder), out, whole=whole)
    newest = captured.get().splitlines()[-(out.height - 1) :]
    out.clear()
    sys.stdout.write("\n".join(newest) + "\n")
    sys.stdout.flush()
