"""The commands for coding agents: the MCP server and its hooks, their installation, and who is heard."""
