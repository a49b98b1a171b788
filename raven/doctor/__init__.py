"""The checks of `raven doctor`, a module for each subject.

Imported by `cli`; imports `client` and below.
"""
