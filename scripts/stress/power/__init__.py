"""Power: cuts of it, simulated."""
