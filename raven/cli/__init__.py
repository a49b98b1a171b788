"""The command line: commands in a folder, found by `app.py`, which is the one error boundary, too.

May import: all of raven, and `raven_rpc` when a command goes through the helper.
"""
