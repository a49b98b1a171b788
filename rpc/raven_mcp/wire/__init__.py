"""The wire of MCP: lines on stdin and stdout, both eras of the protocol, calls that wait; knows no tool and no bus.

Imported by `session`, `tools`, `server` and `install`; imports `raven_rpc.jsonrpc`.
"""
