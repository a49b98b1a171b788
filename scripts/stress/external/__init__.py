"""Foreign hands: other SQLite programs, and files that are handled."""
