"""The settings that a resumed run takes over from its session, by the rules of docs/sessions.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rlm.config.settings import Config, flag, recording_of, variable
from rlm.config.sources import override, read_config, setting_texts
from rlm.errors import ConfigError
from rlm.process.files import resolve
from rlm.text.clip import one_line
from rlm.text.redact import REDACTED

SettingTexts = Mapping[str, str]
"""Settings as text, by name."""

_SANDBOX = ("sandbox", "sandbox_net", "sandbox_memory", "sandbox_file_size", "keep_repositories")
_PATHS = ("system_prompt_path", "context")
_LONGEST = 60  # characters of a setting in a message


@dataclass(frozen=True, slots=True)
class GivenSettings:
    """The settings that the caller names in this call: the texts of flags, or the values of a program."""

    flags: SettingTexts = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.flags or self.values.get(name) is not None

    def read(self, recorded: SettingTexts | None = None) -> Config:
        """Build a configuration from these and from `recorded` settings.

        Raises:
            ConfigError: a value is not allowed.
        """
        return read_config(self.flags, recorded=recorded, named=self.values)


def resumed_config(recorded: SettingTexts, chosen: GivenSettings) -> Config:
    """Merge settings: those in the call override variables, variables override the recorded ones.

    Exception: no variable weakens the sandbox of the session.

    Raises:
        ConfigError: a value is not allowed.
    """
    config = chosen.read(recorded)
    return override(config, {name: text for name, text in _weakened(config, recorded) if name not in chosen})


def _weakened(config: Config, recorded: SettingTexts) -> Iterator[tuple[str, str]]:
    """Yield the sandbox settings that are weaker than the session's, with the session's texts."""
    was = setting_texts(Config()) | dict(recorded)
    now = setting_texts(config)
    if was["sandbox"] == "off":
        return
    for name in _SANDBOX:
        if _weakness(name, now[name]) > _weakness(name, was[name]):
            yield name, was[name]


def _weakness(name: str, text: str) -> int:
    """Rate a setting: a larger number is a weaker sandbox."""
    if name in ("sandbox", "sandbox_net", "keep_repositories"):
        return text == ("off" if name == "sandbox" else "on")
    return int(text) if text.isascii() and text.isdecimal() else 0


def differences(recorded: SettingTexts, config: Config, chosen: GivenSettings) -> str:
    """Describe the differences and the explicit settings that stay the same; empty if there is nothing to say."""
    was, now = setting_texts(Config()) | dict(recorded), setting_texts(config)
    names = [name for name in (*now, *(was.keys() - now)) if was.get(name) != now.get(name)]
    changes = [f"{flag(name)} {_shown(now.get(name))} (was {_shown(was.get(name))})" for name in names]
    meant = chosen.read()
    kept = [variable(name) for name, _ in _weakened(meant, recorded) if name in meant.explicit and name not in chosen]
    if kept:
        changes.append(f"its own sandbox: {', '.join(kept)} cannot lower it, --sandbox off can")
    same = [f"{flag(name)} {_shown(recorded[name])}" for name in now if name in recorded.keys() - {"model", *names}]
    parts = [f"with {', '.join(changes)}"] * bool(changes) + [f"as before: {', '.join(same)}"] * bool(same)
    return "; ".join(parts)


def _shown(text: str | None) -> str:
    return one_line(text, _LONGEST) if text else "none"


def check_named(id: str, recorded: SettingTexts, chosen: GivenSettings, cwd: Path) -> None:
    """Check that this call names every setting that must not be taken from a session alone.

    Raises:
        ConfigError: a path outside `cwd`, or a text that contained a secret, is not named.
    """
    named = chosen.read().explicit
    for name, text in recorded.items():
        if name in named or name in chosen:
            continue
        if REDACTED in text:
            raise ConfigError(f"Session {id} had a secret in {flag(name)}, which is not recorded. Set it again.")
        recording = recording_of(text) if name == "model" else None
        path = str(recording) if recording else text if name in _PATHS else None
        if path is not None and not _inside(path, cwd):
            raise ConfigError(
                f"Session {id} used {flag(name)} {text}, which is not in {cwd}. "
                f"Set it again to use it: rlm resume {id} {flag(name)} {text}"
            )


def _inside(path: str, cwd: Path) -> bool:
    try:
        return resolve(cwd / path).is_relative_to(cwd)
    except OSError:
        return False
