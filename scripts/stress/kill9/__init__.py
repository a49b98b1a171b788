"""Storm: kill -9 at everybody."""
