"""`rlm export [ID…]`: sessions as a page, a notebook, training data or trajectories."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlm.cli import exits
from rlm.cli.arguments import add_settings, parser, settings_given
from rlm.cli.output import open_output
from rlm.cli.streams import put_pieces
from rlm.config.environment import state_folder
from rlm.config.settings import read_config
from rlm.errors import ConfigError, SessionError
from rlm.present.export import Arguments, Format, export, part
from rlm.sessions.signing_key import key_or_none
from rlm.sessions.store import find, list_sessions, read_tree

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
    made.add_argument(
        "--arguments",
        choices=[str(each) for each in Arguments],
        help="with --format chat: objects, as chat templates want them (the default), or text, as the API has them",
    )
    add_settings(made, "home", "output")
    made.add_argument("ids", nargs="*", metavar="ID")
    given = made.parse_args(argv)
    config = read_config(settings_given(given))
    folders = list(_folders(config.home.absolute(), given.ids))
    wanted = Format(given.format)
    if wanted in _ONE and len(folders) > 1:
        raise ConfigError(f"A file of format {wanted} holds one session, not {len(folders)}. Name one, or take chat.")
    if given.arguments and wanted is not Format.CHAT:
        raise ConfigError(f"--arguments goes with --format chat, not with {wanted}.")
    arguments = Arguments(given.arguments or Arguments.MAPPING)
    trees = [part(read_tree(folder), given.agent) for folder in folders]
    pieces = (piece for tree in trees for piece in export(tree, wanted, arguments))
    if config.output is None:
        put_pieces(pieces, json=wanted is not Format.HTML)
        return exits.DONE
    with open_output(config.output) as output:
        output.write_pieces(pieces)
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
