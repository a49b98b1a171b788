"""The checks before routing: host, origin, token, type and size of a request.

Imported by `app`; imports `raven.files` and `raven.model`.
"""
