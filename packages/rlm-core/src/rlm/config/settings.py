"""Settings: one table. Each is a flag and a variable; flags win.

`--help` and docs/configuration.md are generated from it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rlm.config.environment import environment, is_dumb_terminal
from rlm.config.readers import (
    RECORDED,
    TOOLS,
    ApiChoice,
    SandboxMode,
    Streaming,
    ValueKind,
    any_text,
    api_key,
    at_least,
    existing_file,
    existing_folder,
    folder,
    json_object,
    member_of,
    one_of,
    seconds,
    stripped_text,
    switch,
    tool_names,
    unlimited_or,
)
from rlm.errors import ConfigError, CredentialsError


@dataclass(frozen=True, slots=True)
class Setting:
    """How one setting is read and explained. `shown` is the default as the documentation says it."""

    meaning: str
    read: ValueKind
    shown: str
    short: str = ""
    bare: bool = False
    """The flag takes no value; giving it means on."""
    alone: str = ""
    """What the flag means where no value follows."""
    secret: bool = False
    """There is no flag, for everybody on the machine can read a command line."""
    keeps_empty: bool = False
    """An empty value is a value, and not the same as unset."""
    resumed: bool = True
    """It belongs to the session: a run that resumes it has it too. Not so credentials, the endpoint and the screen."""


def setting(meaning: str, read: ValueKind, *, default: Any, **how: Any) -> Any:
    shown = how.pop("shown", None)
    if shown is None:
        shown = "off" if default is False else "—" if default == {} else read.text(default) or "—"
    return field(
        default_factory=lambda: default,
        metadata={"setting": Setting(meaning, read, shown, **how)},
    )


@dataclass(frozen=True)
class Config:
    """Everything a user can set, read and checked."""

    model: str = setting("model name; replay:FILE plays a recorded session", stripped_text, default="gpt-4o")
    api_key: str | None = setting(
        "key for RLM_BASE_URL, or for OpenAI's URL if that is not set",
        api_key,
        default=None,
        secret=True,
        resumed=False,
    )
    base_url: str | None = setting(
        "OpenAI-compatible endpoint; without RLM_API_KEY no key is sent to it",
        stripped_text,
        default=None,
        resumed=False,
    )
    api: ApiChoice = setting(
        "which API of the endpoint is asked: auto (responses at OpenAI's own hosts, chat elsewhere), chat or responses",
        member_of(ApiChoice),
        default=ApiChoice.AUTO,
        resumed=False,
    )
    stream: Streaming = setting(
        "whether replies are streamed: auto (where somebody watches), on or off",
        member_of(Streaming),
        default=Streaming.AUTO,
        resumed=False,
    )
    max_turns: int = setting("model calls per agent", at_least(1), default=30)
    max_depth: int = setting("levels of sub-agents below the root", at_least(0), default=0)
    exec_timeout: float = setting(
        "seconds per cell or command, not counting time spent waiting for sub-agents",
        seconds,
        default=300.0,
        shown="300",
    )
    timeout: float | None = setting("seconds for the whole run, which then ends as at any limit", seconds, default=None)
    max_output: int | None = setting(
        "characters of a tool result that the model gets, head and tail; the whole is kept in the session; "
        "-1: no truncation",
        unlimited_or(1),
        default=None,
    )
    max_turns_in_context: int | None = setting(
        "assistant turns kept in the live context; -1: all",
        unlimited_or(2),
        default=None,
    )
    max_tokens: int = setting("completion tokens for the whole tree; 0: no limit", at_least(0), default=0)
    summarize_at_tokens: int | None = setting(
        "compact the conversation when a prompt reaches it; unset: at 80 % of the context window, if that is known",
        at_least(1),
        default=None,
    )
    max_agents: int = setting("agents in the whole tree", at_least(1), default=1000)
    max_concurrent_agents: int = setting(
        "agents working at once; one that waits for sub-agents does not count",
        at_least(1),
        default=32,
    )
    append_to_system_prompt: str | None = setting("text added to the system prompt", any_text, default=None)
    system_prompt_path: Path | None = setting(
        "file that replaces the system prompt, and wins", existing_file, default=None
    )
    tools: tuple[str, ...] = setting(
        f"comma-separated subset of {', '.join(TOOLS)}; empty: none, which is plain chat",
        tool_names,
        default=("ipython", "summarize"),
        shown="ipython,summarize",
        keeps_empty=True,
    )
    home: Path = setting("folder of sessions and data", folder, default=Path(".rlm"), resumed=False)
    sdk_max_retries: int = setting(
        "a request's first retries, at the OpenAI SDK's pace; those that follow wait longer", at_least(0), default=5
    )
    model_params: dict[str, Any] = setting(
        "JSON merged into each request (temperature, reasoning_effort, …)", json_object, default={}
    )
    images: bool = setting("on: pictures that cells display go to the model too", switch, default=False, bare=True)
    sandbox: SandboxMode = setting(
        "off or bwrap, which confines cells and commands; the flag alone means bwrap",
        member_of(SandboxMode),
        default=SandboxMode.OFF,
        alone="bwrap",
    )
    sandbox_net: bool = setting("let what is in the sandbox use the network", switch, default=False, bare=True)
    sandbox_memory: int = setting(
        "megabytes that each process in the sandbox may have, and each of its temporary folders",
        at_least(256),
        default=8192,
    )
    sandbox_file_size: int = setting(
        "megabytes that may be written to one file in the sandbox; `outputs/` of a run takes no more, in or out of it",
        at_least(1),
        default=4096,
    )
    keep_repositories: bool = setting(
        "leave repositories that a run in the sandbox made or changed as they are, also what git would run there",
        switch,
        default=False,
        bare=True,
    )
    context: Path | None = setting("file that the kernel gets as `context`", existing_file, default=None)
    checkpoint: bool = setting(
        "save the kernel's variables after each cell; resume restores them", switch, default=False, bare=True
    )
    no_context_files: bool = setting(
        "leave AGENTS.md, and the .agents/skills of the project and the home, out of the system prompt",
        switch,
        default=False,
        bare=True,
    )
    output: Path | None = setting("also write the answer to this file", folder, default=None, short="o", resumed=False)
    json: bool = setting("one JSON object a line on stdout", switch, default=False, bare=True, resumed=False)
    deltas: bool = setting(
        "with --json: also the model's text as it streams", switch, default=False, bare=True, resumed=False
    )
    quiet: bool = setting("nothing on stderr but errors", switch, default=False, short="q", bare=True, resumed=False)
    color: str = setting(
        "auto, always or never; NO_COLOR and TERM=dumb are honoured",
        one_of("auto", "always", "never"),
        default="auto",
        resumed=False,
    )
    plain: bool = setting(
        "print the answer as the model wrote it, on a terminal too", switch, default=False, bare=True, resumed=False
    )
    confirm: bool = setting(
        "at the interactive prompt: ask before each cell, command and edit",
        switch,
        default=False,
        bare=True,
        resumed=False,
    )
    bell: bool = setting(
        "at the interactive prompt: ring when a turn of more than 10 seconds ends",
        switch,
        default=True,
        shown="on",
        resumed=False,
    )
    limit_ok: bool = setting("a run that a limit stopped exits with 0", switch, default=False, bare=True, resumed=False)
    debug: bool = setting("show tracebacks", switch, default=False, bare=True, resumed=False)
    given: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """The names of the settings that have a value from a flag, a variable or a resumed session."""

    @property
    def sandboxed(self) -> bool:
        """Whether cells and commands are confined."""
        return self.sandbox is not SandboxMode.OFF

    @property
    def recording(self) -> Path | None:
        """What is played in place of a model, if the model's name says so."""
        return recording_of(self.model)

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """The table, by field name and in order."""
        return {each.name: each.metadata["setting"] for each in fields(cls) if "setting" in each.metadata}


def recording_of(model: str) -> Path | None:
    """The recording that a model's name stands for, if it does."""
    return Path(model.removeprefix(RECORDED)) if model.startswith(RECORDED) else None


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"RLM_{name.upper()}"


def flag(name: str) -> str:
    """The long flag of a setting."""
    return f"--{name.replace('_', '-')}"


def read_config(
    flags: Mapping[str, str],
    environ: Mapping[str, str] | None = None,
    recorded: Mapping[str, str] | None = None,
    named: Mapping[str, object] | None = None,
) -> Config:
    """Flags over variables over what a resumed session `recorded`, over defaults. Texts are by field name.

    Values that a program has `named` win over all of them; None is as if it were not named.

    Raises:
        ConfigError: naming the flag or variable, its value, and what is allowed.
        CredentialsError: the key cannot be one; it is not shown.
    """
    environ = environment(environ)
    values: dict[str, Any] = {"color": "never"} if environ.get("NO_COLOR") or is_dumb_terminal(environ) else {}
    for name, how in Config.settings().items():
        source, text = _chosen(name, how, flags, environ, recorded or {})
        if text is not None and (text.strip() or how.keeps_empty):
            values[name] = _read(source, how.read, text, secret=how.secret)
    values |= _checked(named or {})
    return Config(**_with_credentials(values, environ), given=frozenset(values))


def _chosen(
    name: str, how: Setting, flags: Mapping[str, str], environ: Mapping[str, str], recorded: Mapping[str, str]
) -> tuple[str, str | None]:
    """Where a setting comes from, and its text. An empty flag unsets what is recorded; an empty variable is unset."""
    if name in flags:
        return flag(name), flags[name]
    text = environ.get(variable(name))
    if text is not None and (text.strip() or how.keeps_empty):
        return variable(name), text
    return f"the session's {flag(name)}", recorded.get(name) if how.resumed else None


def setting_texts(config: Config) -> dict[str, str]:
    """The settings that belong to a session and have a value, as texts that `read_config` reads."""
    texts = {name: how.read.text(getattr(config, name)) for name, how in Config.settings().items() if how.resumed}
    return {name: text for name, text in texts.items() if text is not None}


def recorded_settings(config: Config) -> dict[str, str]:
    """Those of them that a session records: what was given, and what is not as by default."""
    usual = setting_texts(Config())
    return {
        name: text for name, text in setting_texts(config).items() if name in config.given or usual.get(name) != text
    }


def override(config: Config, texts: Mapping[str, str]) -> Config:
    """The settings of a sub-agent: its parent's, but for these.

    Raises:
        ConfigError: as `read_config`.
    """
    table = Config.settings()
    return replace(config, **{name: _read(name, table[name].read, text) for name, text in texts.items()})


def with_values(config: Config, named: Mapping[str, object]) -> Config:
    """The settings of a run: its host's, but for these values. None is as if it were not named.

    Raises:
        ConfigError: as `read_config`.
    """
    values = _checked(named)
    return replace(config, **values, given=config.given | values.keys())


def _checked(named: Mapping[str, object]) -> dict[str, Any]:
    table = Config.settings()
    if unknown := [name for name in named if name not in table]:
        near = difflib.get_close_matches(unknown[0], table, 1)
        raise ConfigError(f"{unknown[0]} is no setting." + (f" Did you mean {near[0]}?" if near else ""))
    return {
        name: _read(name, table[name].read.value, value, secret=table[name].secret)
        for name, value in named.items()
        if value is not None
    }


def check_timeout(value: object) -> float | None:
    """An argument that is a time, as a program gives it; None is none.

    Raises:
        ConfigError: as `read_config`.
    """
    return None if value is None else float(_read("timeout", seconds.value, value))


def read_folder(name: str, path: str | os.PathLike[str]) -> Path:
    """An argument that is a folder, and there.

    Raises:
        ConfigError: as `read_config`.
    """
    return Path(_read(name, existing_folder.value, path))


def _read(source: str, read: Callable[[Any], Any], text: object, *, secret: bool = False) -> Any:
    try:
        return read(text)
    except ValueError as error:
        if secret:
            raise CredentialsError(f"{source} is not allowed: it takes {error}.") from None
        shown = str(text) if isinstance(text, os.PathLike) else text
        raise ConfigError(f"{source}={shown!r} is not allowed: it takes {error}.") from None


def _with_credentials(values: dict[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """RLM_* and OPENAI_* are pairs: a key never goes to the other pair's URL."""
    if "api_key" in values or "base_url" in values:
        return values
    table, pair = Config.settings(), {"api_key": "OPENAI_API_KEY", "base_url": "OPENAI_BASE_URL"}
    return values | {
        field: _read(name, table[field].read, text, secret=table[field].secret)
        for field, name in pair.items()
        if (text := environ.get(name)) and text.strip()
    }


def is_on(name: str, flags: Mapping[str, str], environ: Mapping[str, str] | None = None) -> bool:
    """Whether a flag or a variable switches a setting on. Never fails, for it is asked when the rest cannot be read."""
    text = environment(environ).get(variable(name), "")
    return name in flags or text.strip().lower() in ("1", "on", "true", "yes")


_NO_SETTINGS = (
    *(
        "RLM_BROKER",
        "RLM_SKILL_CALLS_LOG",
        "RLM_MARK",
        "RLM_SANDBOXED",
    ),  # between rlm and what it starts
    *("RLM_SKILLS_DIR", "RLM_CHECKOUT_PATH", "RLM_TOOL_PYTHON", "RLM_EXTRA_UV_ARGS", "RLM_SKILLS_STRICT"),  # install.sh
)


def unknown_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables that look like settings and are none, each with the nearest setting, or an empty text."""
    environ = environment(environ)
    known = [*map(variable, Config.settings()), *_NO_SETTINGS]
    unknown = sorted(name for name in environ if name.startswith("RLM_") and name not in known)
    return {name: next(iter(difflib.get_close_matches(name, known, 1)), "") for name in unknown}
