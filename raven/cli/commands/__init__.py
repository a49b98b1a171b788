"""The commands of `raven`, a module per group; `app.py` imports the one that is asked for.

Imported by `cli.app` alone; imports options and output of `cli`, and all of raven.
"""
