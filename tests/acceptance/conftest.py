"""A temporary home for the command, and a scripted provider for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from jinja2 import Template
from rlm_testkit.chat_templates import shipped
from rlm_testkit.cli import Rlm
from rlm_testkit.scripted import Scripted


@pytest.fixture
def alone(tmp_path: Path) -> Rlm:
    """The command without a key and an endpoint."""
    return Rlm(tmp_path)


@pytest.fixture
def rlm(tmp_path: Path) -> Callable[[Scripted], Rlm]:
    """The command, configured for this server as its user would do it."""
    return lambda server: Rlm(tmp_path, {"RLM_BASE_URL": server.url, "RLM_MODEL": "scripted"})


@pytest.fixture
def without_tools(tmp_path: Path) -> Callable[[Scripted], Rlm]:
    """As `rlm`, without tools: the run starts no kernel, and takes half the time."""
    return lambda server: Rlm(tmp_path, {"RLM_BASE_URL": server.url, "RLM_MODEL": "scripted", "RLM_TOOLS": ""})


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    """The chat templates of real models."""
    return shipped(tmp_path_factory.mktemp("trl"))
