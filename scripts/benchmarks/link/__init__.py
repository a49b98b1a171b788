"""Benchmarks of `raven link`: two hosts on this machine, with a relay each, over a private nats-server."""
