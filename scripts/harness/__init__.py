"""Harness: the processes, servers and connections with which tests, benchmarks and trials use raven from outside."""
