"""Benchmarks of `raven mcp`, beside a minimal server of the official SDK: both are children on two pipes."""
