"""The checks of `raven doctor`, a module for each subject.

Imported by `cli` and `install`; imports `client`, `link` and below.
"""
