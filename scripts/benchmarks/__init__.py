"""Benchmarks: what raven costs, against what its floor costs, measured in one run with the sides alternating."""
