"""The table of all settings. Each is a flag and a variable; flags win.

`--help` and docs/configuration.md are generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rlm.config.mcp_servers import McpServers
from rlm.config.readers import (
    RECORDED,
    TOOLS,
    ApiChoice,
    ColorChoice,
    PictureChoice,
    SandboxMode,
    Streaming,
    ValueKind,
    any_text,
    api_key,
    at_least,
    dollars,
    existing_file,
    folder,
    json_object,
    mcp,
    member_of,
    seconds,
    stripped_text,
    switch,
    tool_names,
    unlimited_or,
)


@dataclass(frozen=True, slots=True)
class Setting:
    """How one setting is read and explained. `shown` is the default in the documentation."""

    meaning: str
    read: ValueKind
    shown: str
    short: str = ""
    bare: bool = False
    """The flag takes no value; giving it means on."""
    alone: str = ""
    """The value of the flag without a value."""
    secret: bool = False
    """There is no flag, because all users of the machine can read command lines."""
    hidden: bool = False
    """It may hold secrets: an error does not show it."""
    keeps_empty: bool = False
    """An empty value is a value, and not the same as unset."""
    resumed: bool = True
    """It belongs to the session, so a resumed run has it too. False for credentials, the endpoint and the screen."""


def setting(meaning: str, read: ValueKind, *, default: Any, **options: Any) -> Any:
    shown = options.pop("shown", None)
    if shown is None:
        shown = "off" if default is False else "—" if default == {} else read.text(default) or "—"
    return field(
        default_factory=lambda: default,
        metadata={"setting": Setting(meaning, read, shown, **options)},
    )


@dataclass(frozen=True)
class Config:
    """All settings of a user, read and checked."""

    model: str = setting("model name; replay:FILE plays a recorded session", stripped_text, default="gpt-4o")
    subagent_model: str | None = setting(
        "model of sub-agents, unless their call names one; unset: the parent's", stripped_text, default=None
    )
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
        "which API of the endpoint to use: auto (responses at OpenAI's own hosts, chat elsewhere), chat or responses",
        member_of(ApiChoice),
        default=ApiChoice.AUTO,
        resumed=False,
    )
    stream: Streaming = setting(
        "whether to stream replies: auto (if somebody watches), on or off",
        member_of(Streaming),
        default=Streaming.AUTO,
        resumed=False,
    )
    max_turns: int = setting("model calls per agent; the last request at a limit is extra", at_least(1), default=30)
    max_depth: int = setting("levels of sub-agents below the root", at_least(0), default=0)
    exec_timeout: float = setting(
        "seconds per cell or command, not counting time spent waiting for sub-agents",
        seconds,
        default=300.0,
        shown="300",
    )
    timeout: float | None = setting("seconds for the whole run, which then ends as at any limit", seconds, default=None)
    max_output: int | None = setting(
        "characters of a tool result that the model gets, head and tail; the session keeps the complete output; "
        "-1: no truncation up to 10,000,000 characters",
        unlimited_or(1),
        default=None,
    )
    max_turns_in_context: int | None = setting(
        "assistant turns kept in the live context; -1: all",
        unlimited_or(2),
        default=None,
    )
    max_tokens: int = setting("completion tokens for the whole tree; 0: no limit", at_least(0), default=0)
    max_total_tokens: int = setting(
        "new tokens for the whole tree: completions, and the uncached part of prompts; 0: no limit",
        at_least(0),
        default=0,
    )
    max_cost: float | None = setting(
        "US dollars for the whole tree, by published prices; a model without a price is refused", dollars, default=None
    )
    summarize_at_tokens: int | None = setting(
        "compact the conversation when a prompt has this many tokens; unset: at 80 % of the context window, if known",
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
        "file that replaces the system prompt; --append-to-system-prompt is then ignored", existing_file, default=None
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
        "a request's first retries, at the pace of the OpenAI SDK; later retries wait longer", at_least(0), default=5
    )
    model_params: dict[str, Any] = setting(
        "JSON merged into each request (temperature, reasoning_effort, …)", json_object, default={}
    )
    images: bool = setting("also send the pictures that cells display to the model", switch, default=False, bare=True)
    sandbox: SandboxMode = setting(
        "off or bwrap, which confines cells and commands; the flag alone means bwrap",
        member_of(SandboxMode),
        default=SandboxMode.OFF,
        alone="bwrap",
    )
    sandbox_net: bool = setting("allow network access in the sandbox", switch, default=False, bare=True)
    sandbox_memory: int = setting(
        "megabytes for each process in the sandbox, and for each of its temporary folders",
        at_least(256),
        default=8192,
    )
    sandbox_file_size: int = setting(
        "megabytes for one file written in the sandbox; also for `outputs/` of a run, with or without a sandbox",
        at_least(1),
        default=4096,
    )
    keep_repositories: bool = setting(
        "only report repositories that a run in the sandbox changed; do not move aside what git would run there",
        switch,
        default=False,
        bare=True,
    )
    context: Path | None = setting("file that the kernel gets as `context`", existing_file, default=None)
    schema: Path | None = setting(
        "file with a JSON Schema: the answer is JSON that fits it", existing_file, default=None
    )
    mcp: McpServers = setting(
        "file, or JSON, that names MCP servers in the `mcpServers` form; their tools are functions in the kernel; "
        "the variable takes no relative path",
        mcp,
        default=McpServers(),
        shown="—",
        hidden=True,
    )
    checkpoint: bool = setting(
        "save the kernel's variables after each cell; resume restores them", switch, default=False, bare=True
    )
    no_final_answer: bool = setting(
        "do not ask the model once more, without tools, for its answer at a limit of turns, tokens, cost or time",
        switch,
        default=False,
        bare=True,
    )
    no_cache_wait: bool = setting(
        "start all sub-agents of a fan-out at once; else most wait up to 2 s until the provider caches what they share",
        switch,
        default=False,
        bare=True,
    )
    no_context_files: bool = setting(
        "leave AGENTS.md, and the .agents/skills of the project and the home, out of the system prompt",
        switch,
        default=False,
        bare=True,
    )
    output: Path | None = setting("also write the answer to this file", folder, default=None, short="o", resumed=False)
    json: bool = setting("one JSON object per line on stdout", switch, default=False, bare=True, resumed=False)
    deltas: bool = setting(
        "with --json: also the model's text as it streams", switch, default=False, bare=True, resumed=False
    )
    quiet: bool = setting("only errors on stderr", switch, default=False, short="q", bare=True, resumed=False)
    verbose: bool = setting(
        "show the code of each call and the end of its output",
        switch,
        default=False,
        short="v",
        bare=True,
        resumed=False,
    )
    color: ColorChoice = setting(
        "auto, always or never; NO_COLOR and TERM=dumb are honoured",
        member_of(ColorChoice),
        default=ColorChoice.AUTO,
        resumed=False,
    )
    pictures: PictureChoice = setting(
        "auto: show pictures of cells in kitty, Ghostty, iTerm2, WezTerm, mintty, mlterm, foot and contour; off",
        member_of(PictureChoice),
        default=PictureChoice.AUTO,
        resumed=False,
    )
    plain: bool = setting(
        "print the answer as the model wrote it, on a terminal too", switch, default=False, bare=True, resumed=False
    )
    confirm: bool = setting(
        "at the interactive prompt and in an editor (rlm acp): ask before each cell, command and edit",
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
    limit_ok: bool = setting("exit with 0 if a limit stopped the run", switch, default=False, bare=True, resumed=False)
    debug: bool = setting("show tracebacks", switch, default=False, bare=True, resumed=False)
    explicit: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    """The names of the settings with a value from a flag, a variable or a resumed session."""

    @property
    def sandboxed(self) -> bool:
        """Whether cells and commands are confined."""
        return self.sandbox is not SandboxMode.OFF

    @property
    def recording(self) -> Path | None:
        """The recording that replaces the model, if the model's name is that of a recording."""
        return recording_of(self.model)

    @classmethod
    def settings(cls) -> dict[str, Setting]:
        """Return the table, by field name and in order."""
        return {each.name: each.metadata["setting"] for each in fields(cls) if "setting" in each.metadata}


def recording_of(model: str) -> Path | None:
    """Return the recording that a model's name refers to; None for a real model."""
    return Path(model.removeprefix(RECORDED)) if model.startswith(RECORDED) else None


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"RLM_{name.upper()}"


def flag(name: str) -> str:
    """The long flag of a setting."""
    return f"--{name.replace('_', '-')}"
