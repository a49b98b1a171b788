"""The MCP server of raven: the bus as tools of a coding agent, its hooks, and their installation; stdlib only.

`raven mcp` runs the server, `raven hook` answers a hook of an agent's program, `raven install` sets both up.
"""

from raven.model.version import __version__

__all__ = ["__version__"]
