"""Clock: steps of the time of day."""
