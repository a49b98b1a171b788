"""Trials with programs of other makers, by hand and not in CI."""
