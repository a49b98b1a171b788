"""The server: connections, dispatch, the order of requests and answers.

May import: methods, jsonrpc, and raven's client, model and host.
"""
