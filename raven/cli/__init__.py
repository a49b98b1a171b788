"""The command line: a module per group of commands, and `app.py`, which dispatches and turns errors into exit codes.

Imported by `__main__` alone; imports all of raven, and `raven_rpc` if a command uses the server.
"""
