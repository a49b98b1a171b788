"""The event streams: one observer of the bus, and its viewers.

Imported by `app`; imports `raven.host` and below.
"""
