"""History: what processes wrote down, and the checker that decides by it alone."""
