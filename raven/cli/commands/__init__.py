"""The commands of `raven`, a module per group; `app.py` imports the one that is asked for.

May import: the command line's options and output, and all of raven.
"""
