"""MCP servers of a run.

They belong to the host, and cells call their tools. The package `mcp` is imported when used.
"""

from rlm.mcp.client import ServerTools
from rlm.mcp.clients import McpClients, Surroundings
from rlm.mcp.names import ServerNames, named

__all__ = ["McpClients", "ServerNames", "ServerTools", "Surroundings", "named"]
