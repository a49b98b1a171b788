"""The live page: its files, and the route that serves them.

Imported by `app`; imports nothing of raven.
"""
