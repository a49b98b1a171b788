"""The checks of `raven doctor`, a module for each subject.

Imported by `cli`; imports `client`, `link` and below.
"""
