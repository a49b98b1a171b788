"""The commands of `raven`, a module per group; `app.py` imports the module of the command that runs.

Imported by `cli.app` alone; imports options and output of `cli`, and all of raven.
"""
