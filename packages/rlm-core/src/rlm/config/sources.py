"""Builds one configuration from the sources of settings: flags, variables, a resumed session, and a program."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict

from rlm.config import mcp_servers
from rlm.config.environment import environment, is_dumb_terminal
from rlm.config.harness_variables import as_written, with_harness_variables
from rlm.config.readers import ColorChoice, existing_folder, seconds
from rlm.config.settings import Config, Setting, flag, variable
from rlm.errors import ConfigError, CredentialsError

FilePath = str | os.PathLike[str]


def read_config(
    flags: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
    recorded: Mapping[str, str] | None = None,
    named: Mapping[str, object] | None = None,
) -> Config:
    """Merge flags, variables, settings that a resumed session `recorded`, and defaults: the first source wins.

    Texts are by field name. Values that a program has `named` win over all sources; None counts as not named.

    Raises:
        ConfigError: the message names the flag or variable, its value, and what is allowed.
        CredentialsError: the key is invalid; the message does not show it.
    """
    own = environment(environ)
    environ = with_harness_variables(own)
    values: dict[str, Any] = (
        {"color": ColorChoice.NEVER} if environ.get("NO_COLOR") or is_dumb_terminal(environ) else {}
    )
    for name, entry in Config.settings().items():
        source, text = _source_and_text(name, entry, flags, environ, recorded or {})
        if text is not None and (text.strip() or entry.keeps_empty):
            source = as_written(source, own)
            values[name] = _read(source, partial(_value, entry.read, environ=environ, source=source), text, entry)
    values |= _checked(named or {}, environ)
    return Config(**_with_credentials(values, environ), explicit=frozenset(values))


def _source_and_text(
    name: str, entry: Setting, flags: Mapping[str, str], environ: Mapping[str, str], recorded: Mapping[str, str]
) -> tuple[str, str | None]:
    """Return the source and text of a setting. An empty flag unsets a recorded value; an empty variable is ignored."""
    if name in flags:
        return flag(name), flags[name]
    text = environ.get(variable(name))
    if text is not None and (text.strip() or entry.keeps_empty):
        return variable(name), text
    return f"the session's {flag(name)}", recorded.get(name) if entry.resumed else None


def setting_texts(config: Config) -> dict[str, str]:
    """Return the settings that belong to a session and have a value, as texts that `read_config` reads."""
    texts = {name: entry.read.text(getattr(config, name)) for name, entry in Config.settings().items() if entry.resumed}
    return {name: text for name, text in texts.items() if text is not None}


def recorded_settings(config: Config) -> dict[str, str]:
    """Return the settings that a session records: explicit ones, and those that differ from the default."""
    usual = setting_texts(Config())
    return {
        name: text for name, text in setting_texts(config).items() if name in config.explicit or usual.get(name) != text
    }


def override(config: Config, texts: Mapping[str, str]) -> Config:
    """Return the settings of a sub-agent: its parent's, changed by these texts.

    Raises:
        ConfigError: as in `read_config`.
    """
    table = Config.settings()
    return replace(config, **{name: _read(name, table[name].read, text) for name, text in texts.items()})


def with_values(config: Config, named: Mapping[str, object]) -> Config:
    """Return the settings of a run: its host's, changed by these values. None counts as not named.

    Raises:
        ConfigError: as in `read_config`.
    """
    values = _checked(named, environment(None))
    return replace(config, **values, explicit=config.explicit | values.keys())


def check_run_settings(named: Mapping[str, object]) -> None:
    """
    Raises:
        ConfigError: one of them is a setting of a host, which all of its runs share.
    """
    for name in HostSettings.__annotations__.keys() - RunSettings.__annotations__.keys():
        if named.get(name) is not None:
            raise ConfigError(f"{name} is a setting of the host: Host({name}=…).")


def _checked(named: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, Any]:
    table = Config.settings()
    if unknown := [name for name in named if name not in table]:
        near = difflib.get_close_matches(unknown[0], table, 1)
        raise ConfigError(f"{unknown[0]} is not a setting." + (f" Did you mean {near[0]}?" if near else ""))
    return {
        name: _read(name, partial(_value, table[name].read.value, environ=environ), value, table[name])
        for name, value in named.items()
        if value is not None
    }


def check_timeout(value: object) -> float | None:
    """Check a time that a program gives; None means no limit.

    Raises:
        ConfigError: as in `read_config`.
    """
    return None if value is None else float(_read("timeout", seconds.value, value))


def read_folder(name: str, path: str | os.PathLike[str]) -> Path:
    """Check that an argument is an existing folder.

    Raises:
        ConfigError: as in `read_config`.
    """
    return Path(_read(name, existing_folder.value, path))


def _read(source: str, read: Callable[[Any], Any], text: object, entry: Setting | None = None) -> Any:
    try:
        return read(text)
    except ValueError as error:
        if entry is not None and (entry.secret or entry.hidden):
            kind = CredentialsError if entry.secret else ConfigError
            raise kind(f"{source} is not allowed: it takes {error}.") from None
        shown = str(text) if isinstance(text, os.PathLike) else text
        raise ConfigError(f"{source}={shown!r} is not allowed: it takes {error}.") from None


def _value(read: Callable[[Any], Any], value: object, *, environ: Mapping[str, str], source: str = "") -> Any:
    """Read a value, and insert the variables that it names."""
    if source == variable("mcp") and isinstance(value, str):
        mcp_servers.check_whole_path(value)
    read_value = read(value)
    return read_value.expanded(environ) if isinstance(read_value, mcp_servers.McpServers) else read_value


def _with_credentials(values: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Add credentials of OPENAI_*. RLM_* and OPENAI_* are pairs: a key is never sent to the other pair's URL."""
    if "api_key" in values or "base_url" in values:
        return values
    table, pair = Config.settings(), {"api_key": "OPENAI_API_KEY", "base_url": "OPENAI_BASE_URL"}
    return values | {
        field: _read(name, table[field].read, text, table[field])
        for field, name in pair.items()
        if (text := environ.get(name)) and text.strip()
    }


# ---- settings for programs, with their types; a test compares them with the table


class RunSettings(TypedDict, total=False):
    """The settings of a run. docs/configuration.md explains them; None counts as not named."""

    model: str | None
    subagent_model: str | None
    max_turns: int | None
    max_depth: int | None
    exec_timeout: float | None
    timeout: float | None
    max_output: int | None
    max_turns_in_context: int | None
    max_tokens: int | None
    max_total_tokens: int | None
    max_cost: float | None
    summarize_at_tokens: int | None
    max_agents: int | None
    max_concurrent_agents: int | None
    append_to_system_prompt: str | None
    system_prompt_path: FilePath | None
    tools: Sequence[str] | None
    home: FilePath | None
    model_params: Mapping[str, Any] | None
    images: bool | None
    sandbox: Literal["off", "bwrap"] | None
    sandbox_net: bool | None
    sandbox_memory: int | None
    sandbox_file_size: int | None
    keep_repositories: bool | None
    mcp: FilePath | Mapping[str, Any] | mcp_servers.McpServers | None
    checkpoint: bool | None
    no_final_answer: bool | None
    no_cache_wait: bool | None
    no_context_files: bool | None


class HostSettings(RunSettings, total=False):
    """The settings of a host: the endpoint of its models, and defaults for its runs."""

    base_url: str | None
    api_key: str | None
    api: Literal["auto", "chat", "responses"] | None
    stream: Literal["auto", "on", "off"] | None
    sdk_max_retries: int | None
