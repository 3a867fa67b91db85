"""The settings that a program can name, with their types. A test holds them equal to the table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

FilePath = str | os.PathLike[str]


class RunSettings(TypedDict, total=False):
    """Of a run. docs/configuration.md says what each means; None is as if it were not named."""

    model: str | None
    max_turns: int | None
    max_depth: int | None
    exec_timeout: float | None
    timeout: float | None
    max_output: int | None
    max_turns_in_context: int | None
    max_tokens: int | None
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
    checkpoint: bool | None
    no_context_files: bool | None


class HostSettings(RunSettings, total=False):
    """Of a host: where its models are, and what its runs have if they do not name it."""

    base_url: str | None
    api_key: str | None
    api: Literal["auto", "chat", "responses"] | None
    stream: Literal["auto", "on", "off"] | None
    sdk_max_retries: int | None
