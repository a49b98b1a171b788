"""The routes: from an HTTP request to a method of the server, and from its result or error to an answer.

Imported by `app`; imports `raven_rpc.methods`, `raven_http.guard`, and `raven.host` and below.
"""
