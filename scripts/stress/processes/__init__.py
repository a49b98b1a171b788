"""Processes: forks, stops, cancellation, and what runs out."""
