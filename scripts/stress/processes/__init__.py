"""Processes: forks, SIGSTOP, cancellation, and exhausted descriptors and inotify instances."""
