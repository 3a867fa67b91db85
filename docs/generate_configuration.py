"""Writes docs/configuration.md from the table of settings. `just docs` runs it; a test compares."""

from __future__ import annotations

import re
from pathlib import Path

from rlm.config.settings import Config, Setting, flag, variable

PAGE = Path(__file__).with_name("configuration.md")

_TOP = """\
# Configuration

Each setting is a flag and a variable; the flag wins. An empty variable counts as unset, except `RLM_TOOLS`. A bad value is
refused before anything is changed, with exit code 2. A flag with the values `on` and `off` takes no value and means on, except `--bell`; the variable also takes
1, true, yes, 0, false and no. This page is generated from `rlm.config.settings` by `just docs`.

| Flag | Variable | Default | Value | Meaning |
|---|---|---|---|---|
"""

_BOTTOM = """
`RLM_API_KEY` and `RLM_BASE_URL` are one pair. If neither is set, `OPENAI_API_KEY` and `OPENAI_BASE_URL` are used. A key is never sent to the
other pair's URL, and `RLM_BASE_URL` without a key sends none, as local servers want it. A key has no flag, because everybody on the machine
can read a command line, and it reaches no kernel.
"""


def page() -> str:
    """Return the whole page."""
    rows = []
    for name, setting in Config.settings().items():
        flags = (
            "—"
            if setting.secret
            else ", ".join([*([f"`-{setting.short}`"] if setting.short else []), f"`{flag(name)}`"])
        )
        rows.append(f"| {flags} | `{variable(name)}` | {setting.shown} | {_value(setting)} | {setting.meaning} |\n")
    return _TOP + "".join(rows) + _BOTTOM


def _value(setting: Setting) -> str:
    """Return the allowed values in a few words: the beginning of what an error says."""
    if setting.read.names:
        return ", ".join(f"`{name}`" for name in setting.read.names)
    return re.split("; |, such as |, as | of ipython", setting.read.says)[0]


if __name__ == "__main__":
    PAGE.write_text(page())
