"""Variables of the package verifiers 0.2: its harness sets `RLM_MCP_CONFIG` and `RLM_SKILLS`."""

from __future__ import annotations

import json

import pytest
from rlm.config.environment import without_effect
from rlm.config.mcp_servers import HttpServer
from rlm.config.sources import read_config
from rlm.errors import ConfigError

SERVERS = json.dumps({"mcpServers": {"tools": {"url": "http://127.0.0.1:8000/mcp"}, "more": {"url": "http://h/mcp"}}})
OWN = json.dumps({"mcpServers": {"own": {"command": "x"}}})


def test_a_run_has_the_servers_of_a_harness_and_rlms_own_variable_wins() -> None:
    both = (HttpServer("tools", "http://127.0.0.1:8000/mcp"), HttpServer("more", "http://h/mcp"))
    assert both == read_config({}, {"RLM_MCP_CONFIG": SERVERS}).mcp.servers
    assert both == read_config({}, {"RLM_MCP_CONFIG": SERVERS, "RLM_MCP": " "}).mcp.servers, (
        "an empty value counts as unset"
    )
    for environ in (
        {"RLM_MCP": OWN},
        {"RLM_MCP": OWN, "RLM_MCP_CONFIG": ""},
        {"RLM_MCP": OWN, "RLM_MCP_CONFIG": SERVERS},
    ):
        assert ("own",) == read_config({}, environ).mcp.names
    assert ("own",) == read_config({"mcp": OWN}, {"RLM_MCP_CONFIG": SERVERS}).mcp.names
    assert not read_config({}, {"RLM_MCP_CONFIG": ""}).mcp


@pytest.mark.parametrize("value", ["{", ".mcp.json", "/no/such/file"])
def test_an_error_names_the_variable_that_was_set(value: str) -> None:
    for name in ("RLM_MCP_CONFIG", "RLM_MCP"):
        with pytest.raises(ConfigError, match=f"^{name} is not allowed"):
            read_config({}, {name: value})


@pytest.mark.parametrize(
    ("skills", "tools", "names"),
    [
        ("edit", ("ipython", "summarize", "edit"), ""),
        (" edit , bash,", ("ipython", "summarize", "edit", "bash"), ""),
        ("ipython", ("ipython", "summarize"), ""),
        ("edit,search", ("ipython", "summarize", "edit"), "search"),
        ("search,fetch", ("ipython", "summarize"), "search, fetch"),
        ("", ("ipython", "summarize"), ""),
    ],
)
def test_built_in_skills_are_tools_and_other_names_are_reported(
    skills: str, tools: tuple[str, ...], names: str
) -> None:
    environ = {"RLM_SKILLS": skills, "RLM_MCP_CONFIG": SERVERS}
    assert tools == read_config({}, environ).tools
    line = f"RLM_SKILLS names skills that rlm does not have: {names}."
    assert ([line] if names else []) == without_effect(environ)
    assert () == read_config({}, environ | {"RLM_TOOLS": ""}).tools, "rlm's own variable wins"
