"""What `raven doctor` looks at, a module for each thing.

May import: client and below.
"""
