"""Socket: attacks on the server's socket."""
