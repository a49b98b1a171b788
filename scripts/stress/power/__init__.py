"""Power: simulated power cuts."""
