"""The tools: their table and schemas, their calls, and the texts that a model reads.

Imported by `server`; imports `raven_mcp.session`, `raven_mcp.hooks` and `raven_mcp.wire`.
"""
