"""Sub-agents and MCP tools for cells: the socket for their requests, its protocol, and the limits of the tree."""
