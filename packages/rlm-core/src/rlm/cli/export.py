"""`rlm export [ID…]`: sessions as a page, a notebook, training data or trajectories."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlm.cli import exits
from rlm.cli.arguments import add_settings, parser, settings_given
from rlm.cli.output import open_output
from rlm.cli.streams import put, put_json
from rlm.config import read_config, state_folder
from rlm.errors import ConfigError, SessionError
from rlm.session.export import Format, export
from rlm.session.signing_key import key_or_none
from rlm.session.store import find, list_sessions, read_tree

_ONE = (Format.HTML, Format.IPYNB, Format.ATIF)
"""Formats of which a file holds one session."""


def run(argv: Sequence[str]) -> int:
    """
    Raises:
        SessionError: there is no such session or agent.
    """
    made = parser("rlm export", "Export sessions: the newest, or those whose ids are given (a glob is one, too).")
    made.add_argument("--format", choices=[str(each) for each in Format], default=str(Format.HTML))
    made.add_argument("--agent", metavar="PATH", help="one agent alone, as `root/sub-…`")
    add_settings(made, "home", "output")
    made.add_argument("ids", nargs="*", metavar="ID")
    given = made.parse_args(argv)
    config = read_config(settings_given(given))
    folders = list(_folders(config.home.absolute(), given.ids))
    wanted = Format(given.format)
    if wanted in _ONE and len(folders) > 1:
        raise ConfigError(f"A file of format {wanted} holds one session, not {len(folders)}. Name one, or take chat.")
    with open_output(config.output) as output:
        text = "".join(export(read_tree(folder), wanted, given.agent) for folder in folders)
        output.write(text)
    if text and config.output is None:
        (put if wanted is Format.HTML else put_json)(text.removesuffix("\n"))
    return exits.DONE


def _folders(home: Path, ids: Sequence[str]) -> Iterator[Path]:
    if not ids:
        yield find(home, key=key_or_none(state_folder()))
    for wanted in ids:
        if any(sign in wanted for sign in "*?["):
            yield from _matching(home, wanted)
        else:
            yield find(home, wanted)


def _matching(home: Path, pattern: str) -> list[Path]:
    found = [each.folder for each in list_sessions(home) if fnmatch.fnmatchcase(each.folder.name, pattern)]
    if not found:
        raise SessionError(f"No session matches {pattern}. `rlm ls` lists those that are there.")
    return found
