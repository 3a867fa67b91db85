"""What a command accepts: its own flags, flags of settings, and words."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rlm.config.settings import Config, Setting, flag


@dataclass(frozen=True, slots=True)
class Flag:
    """One flag. With a `metavar` it takes a value; without one it is a switch."""

    name: str
    about: str
    metavar: str = ""
    short: str = ""
    long: str = ""
    choices: tuple[str, ...] = ()
    many: bool = False
    """Whether the flag may be repeated; its values are then joined by commas."""
    setting: Setting | None = None

    @property
    def spellings(self) -> tuple[str, ...]:
        return tuple(filter(None, (f"-{self.short}" if self.short else "", self.long)))

    @property
    def values(self) -> tuple[str, ...]:
        """All values that the flag accepts, if they are few."""
        return self.choices or (self.setting.read.names if self.setting and self.metavar else ())

    def reads(self, text: str) -> bool:
        """Whether a text is a valid value of the setting."""
        try:
            return self.setting is not None and self.setting.read(text) is not None
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """What a command accepts: its own flags, settings, and at most `most` words.

    The settings are all that have a flag, or only those named.
    """

    about: str
    usage: str = ""
    flags: tuple[Flag, ...] = ()
    settings: Collection[str] | None = None
    most: int = 0
    words: tuple[str, ...] = ()
    """The allowed first words, if the first word is not the id of a session."""
    ids: bool = False
    """Whether the words are ids of sessions."""


_EVERY = (
    Flag("help", "show this help", short="h", long="--help"),
    Flag("directory", "work in this folder; other relative paths start there", "DIR", short="C"),
)
"""Flags that every command accepts."""


def command_flags(command: CommandSpec) -> list[Flag]:
    """All flags of a command; flags of settings come last."""
    named = command.settings
    settings = [each for name, each in _SETTINGS.items() if named is None or name in named or name == "debug"]
    return [*_EVERY, *command.flags, *settings]


_METAVARS = {
    "model": "NAME",
    "subagent_model": "NAME",
    "base_url": "URL",
    "exec_timeout": "SECONDS",
    "timeout": "SECONDS",
    "system_prompt_path": "FILE",
    "append_to_system_prompt": "TEXT",
    "tools": "LIST",
    "home": "DIR",
    "model_params": "JSON",
    "mcp": "FILE|JSON",
    "max_cost": "DOLLARS",
    "sandbox_memory": "MEGABYTES",
    "sandbox_file_size": "MEGABYTES",
    "context": "FILE",
    "schema": "FILE",
    "output": "FILE",
}
_SETTINGS = {
    name: Flag(
        name,
        setting.meaning,
        "" if setting.bare else _METAVARS.get(name) or "|".join(setting.read.names) or "N",
        setting.short,
        flag(name),
        setting=setting,
    )
    for name, setting in Config.settings().items()
    if not setting.secret
}
