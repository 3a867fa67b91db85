"""The contract of the package `verifiers`, harness `rlm`, which trains and evaluates models in agents.

In `session/new`, `_meta["ai.prime.rlm/runtime-v1"]` has the settings of the session. In each response to a prompt and
to `session/close`, `_meta["ai.prime.rlm/session-v1"]` has its state. Settings without a counterpart in rlm are
accepted, and reported in the log. Source: verifiers 0.4.0, `v1/harnesses/rlm/harness.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlm.config.harness_variables import known_tools
from rlm.config.settings import Config
from rlm.config.sources import with_values
from rlm.core.budget import Stop
from rlm.core.messages import Wire
from rlm.errors import ConfigError
from rlm.host.spec import PromptAppends
from rlm.sessions.meta import Meta

RUNTIME, SESSION = "ai.prime.rlm/runtime-v1", "ai.prime.rlm/session-v1"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_UNLIMITED = 1_000_000
"""Turns: the contract has no limit for one agent."""


@dataclass(frozen=True, slots=True)
class Contract:
    """The settings that a trainer requests.

    `settings` are values by name; `ignored` are names without a counterpart in rlm.
    """

    session_id: str
    settings: Mapping[str, object]
    appends: PromptAppends = field(default_factory=PromptAppends)
    environment: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    def config(self, config: Config) -> Config:
        """The settings of the session. A provider named by the contract comes with its own key, or has none."""
        if self.settings.get("base_url") is not None:
            config = replace(config, api_key=None)
        return with_values(config, self.settings)


def read_contract(meta: Mapping[str, Any] | None) -> Contract | None:
    """Read the contract; None if the client sends none.

    Raises:
        ConfigError: the contract is invalid.
    """
    if not meta or meta.get(RUNTIME) is None:
        return None
    runtime = _object(RUNTIME, meta[RUNTIME])
    session = runtime.get("session_id")
    if not isinstance(session, str) or not _ID.fullmatch(session):
        raise ConfigError(f"{RUNTIME}: session_id must be 1 to 128 letters, digits and . _ : -")
    policy = _object("policy", runtime.get("policy") or {})
    settings = dict(_settings(runtime, policy))
    environment = _object("kernel_env", runtime.get("kernel_env") or {})
    return Contract(
        session,
        settings,
        PromptAppends(
            _text(runtime, "subagent_append_to_system_prompt"), _text(runtime, "leaf_append_to_system_prompt")
        ),
        {name: str(value) for name, value in environment.items()},
        tuple(_ignored(runtime, policy)),
    )


def _settings(runtime: Wire, policy: Wire) -> Iterator[tuple[str, object]]:
    provider = _object("provider", runtime.get("provider") or {})
    yield "model", _text(runtime, "model")
    yield "base_url", _text(provider, "base_url")
    yield "api_key", _text(provider, "api_key")
    yield "append_to_system_prompt", _text(runtime, "append_to_system_prompt")
    if path := _text(runtime, "system_prompt_path"):
        yield "system_prompt_path", Path(path)
    yield "tools", _tools(runtime)
    yield "max_turns", policy.get("max_total_turns") or _UNLIMITED
    for theirs, (ours, convert) in _POLICY.items():
        if policy.get(theirs) is not None:
            yield ours, convert(policy[theirs])
    if "max_total_tokens" in policy and policy["max_total_tokens"] is None:
        yield "max_total_tokens", 0


_POLICY: dict[str, tuple[str, Callable[[Any], object]]] = {
    "max_depth": ("max_depth", int),
    "max_concurrent_subagents": ("max_concurrent_agents", int),
    "max_subagent_calls": ("max_agents", lambda calls: calls + 1),  # plus the root
    "exec_timeout": ("exec_timeout", float),
    "max_total_tokens": ("max_total_tokens", int),
    "max_tool_output_bytes": ("max_output", int),
    "summarize_at_tokens": ("summarize_at_tokens", int),
}
"""The setting of rlm for each field of the policy."""
_READ = {
    *("session_id", "model", "provider", "policy", "system_prompt_path", "append_to_system_prompt", "kernel_env"),
    *("subagent_append_to_system_prompt", "leaf_append_to_system_prompt", "skills", "builtin_tools"),
}


def _tools(runtime: Wire) -> tuple[str, ...]:
    """The default tools, or the named ones; and built-in skills that are tools in rlm."""
    named = runtime.get("builtin_tools")
    tools = ["ipython", "summarize"] if named is None else [*_known(named), "summarize"]
    return tuple(dict.fromkeys([*tools, *_known(runtime.get("skills"))]))


def _known(names: object) -> list[str]:
    return known_tools(names) if isinstance(names, list) else []


def _ignored(runtime: Wire, policy: Wire) -> Iterator[str]:
    """The ignored fields, by name only: a value may be a key."""
    yield from (name for name in runtime if name not in _READ and runtime[name] is not None)
    known = {*_POLICY, "max_total_turns"}
    yield from (f"policy.{name}" for name, value in policy.items() if name not in known and value not in (None, False))
    if policy.get("compaction") is False:
        yield "policy.compaction=false"
    for name in ("skills", "builtin_tools"):
        unknown = [each for each in runtime.get(name) or () if each not in _known([each])]
        yield from (f"{name}: {each}" for each in unknown)


def _object(name: str, value: object) -> Wire:
    if not isinstance(value, dict):
        raise ConfigError(f"{name} must be an object, not {json.dumps(value)[:60]}.")
    return value


def _text(runtime: Wire, name: str) -> str | None:
    value = runtime.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be a text.")
    return value


_STOPS = {
    Stop.MAX_TURNS: "max_total_turns",
    Stop.TOKEN_BUDGET: "max_total_tokens",
    Stop.CONTEXT_LIMIT: "compaction_failed",
}
"""Stop reasons in the contract's terms, which it treats as truncations."""


def snapshot(contract: Contract, meta: Meta, stop: Stop | None) -> Wire:
    """The state of a session. `stop` is the reason why its newest prompt ended; None: there was no prompt yet."""
    said = None if stop is None else _STOPS.get(stop, str(stop))
    metrics = {name: value for name, value in meta.metrics.items() if isinstance(value, int | float)}
    return {SESSION: {"session_id": contract.session_id, "metrics": metrics, "last_stop_reason": said}}
