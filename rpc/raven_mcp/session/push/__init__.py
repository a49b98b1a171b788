"""The ways to wake an idle agent: one for each program that has any.

Imported by `session` alone.
"""
