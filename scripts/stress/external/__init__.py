"""External: other SQLite programs on the bus, and replaced, restored and moved files."""
