"""MCP servers of a run.

They belong to the host, and cells call their tools. The package `mcp` is imported when used.
"""

from rlm.mcp.client import ServerTools
from rlm.mcp.clients import LaunchContext, McpClients
from rlm.mcp.names import ServerNames, name_servers

__all__ = ["LaunchContext", "McpClients", "ServerNames", "ServerTools", "name_servers"]
