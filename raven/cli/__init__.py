"""The command line: commands in a folder, found by `app.py`, which is the one error boundary, too.

Imported by `__main__` alone; imports all of raven, and `raven_rpc` when a command goes through the server.
"""
