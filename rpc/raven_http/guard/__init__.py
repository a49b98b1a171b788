"""The checks before routing: host, origin, token, type and size of a request.

Imported by `app`, and by `api` and `server` for the form of refusals; imports `raven_rpc.jsonrpc` and below.
"""
