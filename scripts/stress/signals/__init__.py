"""Signals: exceptions of signal handlers at random instructions of raven's calls."""
