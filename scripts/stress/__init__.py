"""Stress: trials that test raven's promises under faults."""
