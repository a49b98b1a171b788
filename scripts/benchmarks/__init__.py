"""Benchmarks: the cost of raven against the cost of its floor; both sides take turns within one run."""
