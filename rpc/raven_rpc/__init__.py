"""The JSON-RPC helper of raven: the bus over a Unix socket, for processes that have neither Python nor the file."""
