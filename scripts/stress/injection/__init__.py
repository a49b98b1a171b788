"""Injection: texts that attack terminals, shells, SQL, JSON lines and file names."""
