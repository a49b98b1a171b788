"""The demo: agents, one of them a shell script, that review the Python files of this checkout over one bus."""
