"""Harness: processes, servers and connections through which tests, benchmarks and trials use raven from outside."""
