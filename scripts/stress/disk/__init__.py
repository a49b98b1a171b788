"""Disk: no room, no rights, and calls that fail."""
