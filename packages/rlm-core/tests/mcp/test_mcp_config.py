"""Configuration of MCP servers: the forms that other clients use, variables, and which parts are secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rlm.config.child_env import child_environment
from rlm.config.mcp_servers import HttpServer, McpServers, StdioServer
from rlm.config.settings import Config
from rlm.config.sources import read_config, recorded_settings, with_values
from rlm.errors import ConfigError
from rlm.mcp.names import name_servers
from rlm.text.redact import REDACTED

ENVIRONMENT = {"HOME": "/home/me", "PATH": "/usr/bin", "TOKEN": "t0ken-of-a-service", "EMPTY": ""}


def read(servers: object, **environ: str) -> Config:
    return read_config({"mcp": json.dumps(servers)}, {**ENVIRONMENT, **environ})


@pytest.mark.parametrize(
    ("settings", "server"),
    [
        ({"command": "npx", "args": ["-y", "x", 8080]}, StdioServer("a", "npx", ("-y", "x", "8080"))),
        ({"command": "x", "env": {"PORT": 1}, "cwd": "/srv"}, StdioServer("a", "x", env={"PORT": "1"}, cwd="/srv")),
        ({"command": "x", "type": "stdio", "autoApprove": ["y"], "args": None}, StdioServer("a", "x")),
        ({"url": "https://h/mcp", "headers": {"X": "y"}}, HttpServer("a", "https://h/mcp", {"X": "y"})),
        ({"httpUrl": "http://h/mcp", "type": "streamable-http"}, HttpServer("a", "http://h/mcp")),
        ({"serverUrl": "http://h/sse", "type": "sse"}, HttpServer("a", "http://h/sse", sse=True)),
        ({"command": "x", "args": ["${HOME}/${NO:-b}${EMPTY:-c}"]}, StdioServer("a", "x", ("/home/me/bc",))),
        ({"url": "${env:URL}"}, HttpServer("a", "https://u/")),
    ],
)
def test_servers_are_configured_as_for_other_clients(settings: dict[str, Any], server: object) -> None:
    for table in ({"mcpServers": {"a": settings}}, {"servers": {"a": settings}}, {"a": settings}):
        assert (server,) == read(table, URL="https://u/").mcp.servers


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not JSON"),
        ('{"mcpServers": []}', "no object of servers"),
        ('{"a": {}}', "a has neither command and url"),
        ('{"a": {"command": "x", "url": "http://h"}}', "a has both command and url"),
        ('{"a": {"command": "x", "args": "y"}}', "args of a is not a list"),
        ('{"a": {"command": "x", "env": {"K": true}}}', "env.K of a is not a text"),
        ('{"a": {"command": "x\\u0000"}}', "command of a is not a text"),
        ('{"a": {"url": "file:///etc/passwd"}}', "must begin with http"),
        ('{"\\u001b[2J": {"command": "x"}}', "is not a name"),
        ('{"a": {"command": "${NOBODY_SET_IT}"}}', "NOBODY_SET_IT, which is not"),
        ("/no/such/file", "No such file"),
    ],
)
def test_an_invalid_configuration_is_refused_without_being_shown(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_config({"mcp": text}, ENVIRONMENT)
    assert problem in str(refused.value)
    assert "--mcp={" not in str(refused.value)


def test_a_file_is_read_and_a_variable_must_contain_its_whole_path(tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    path.write_text('{"mcpServers": {"a": {"command": "x"}, "off": {"command": "y", "disabled": true}}}')
    assert ("a",) == read_config({}, ENVIRONMENT | {"RLM_MCP": str(path)}).mcp.names
    assert ("a",) == with_values(Config(), {"mcp": path}).mcp.names
    with pytest.raises(ConfigError, match=r"a different file in each folder"):
        read_config({}, ENVIRONMENT | {"RLM_MCP": ".mcp.json"})


SECRETIVE = {
    "web": {"url": "https://me:pass%77ord@h/mcp?api_key=k3y-in-a-url", "headers": {"Authorization": "Bearer b3arer-value"}},
    "program": {
        "command": "x",
        "args": ["--api-key", "k3y-as-an-argument", "--header", "X-Token: h3ader-value", "--plain", "shown"],
        "env": {"API_TOKEN": "t0ken-literal", "OTHER": "${TOKEN}", "URL": "postgres://u:p4ssw0rd-of-db@h/", "PLAIN": "word"},
    },
}  # fmt: skip
SECRETS = ["pass%77ord", "k3y-in-a-url", "b3arer-value", "k3y-as-an-argument", "h3ader-value", "t0ken-literal", "p4ssw0rd-of-db"]  # fmt: skip


def test_no_secret_is_recorded_or_shown_but_the_name_of_a_variable_is() -> None:
    config = read({"mcpServers": SECRETIVE})
    recorded = recorded_settings(config)["mcp"]
    assert [] == [secret for secret in SECRETS if secret in recorded + repr(config.mcp.servers[1])]
    assert {"OTHER": "${TOKEN}", "API_TOKEN": REDACTED} == {
        name: json.loads(recorded)["mcpServers"]["program"]["env"][name] for name in ("OTHER", "API_TOKEN")
    }
    assert {*SECRETS, "t0ken-of-a-service"} - {"pass%77ord"} <= config.mcp.secrets
    assert not {"word", "shown", "/usr/bin"} & config.mcp.secrets
    assert REDACTED not in recorded_settings(read({"a": {"command": "x", "args": ["${TOKEN}"]}}))["mcp"]


def test_a_variable_with_a_token_of_a_server_reaches_no_kernel() -> None:
    config = read({"mcpServers": {"a": {"url": "http://h", "headers": {"Authorization": "Bearer ${TOKEN}"}}}})
    assert "TOKEN" not in child_environment(config, ENVIRONMENT)
    assert "TOKEN" in child_environment(Config(), ENVIRONMENT)


def test_servers_of_a_program_are_used_unchanged() -> None:
    servers = McpServers((StdioServer("a", "x", ("${HOME}",), {"KEY": "k3y-of-a-client"}),))
    config = with_values(Config(), {"mcp": servers})
    assert ("${HOME}",) == config.mcp.servers[0].args  # type: ignore[union-attr]
    assert "k3y-of-a-client" in config.mcp.secrets
    with_mapping = with_values(Config(), {"mcp": {"mcpServers": {"b": {"command": "y"}}}})
    assert ("b",) == with_mapping.mcp.names


def test_each_server_gets_a_name_that_hides_nothing_and_a_changed_name_is_reported() -> None:
    names = name_servers(["git", "time", "print", "say", "a-b", "a.b", "class", "mcp", "1password", "日本"], {"say"})
    assert {
        "git": "git",
        "time": "time_mcp",
        "print": "print_mcp",
        "say": "say_mcp",
        "a-b": "a_b",
        "a.b": "a_b_mcp",
        "class": "class_mcp",
        "mcp": "mcp_mcp",
        "1password": "n_1password",
        "日本": "n",
    } == dict(names.variables)
    text = "\n".join(names.renamed)
    assert ["`time` belongs to Python", "`say` belongs to a skill", "`a_b` belongs to the server a-b"] == [
        part
        for part in ("`time` belongs to Python", "`say` belongs to a skill", "`a_b` belongs to the server a-b")
        if part in text
    ]
    assert "git" in names.only(["git"]).prompt
    assert "" == names.only([]).prompt
