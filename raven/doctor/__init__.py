"""What `raven doctor` looks at, a module for each thing.

Imported by `cli`; imports `client` and below.
"""
