"""Installation: raven's server and hooks in the configuration of the programs that run coding agents.

Imported by the command line alone.
"""
