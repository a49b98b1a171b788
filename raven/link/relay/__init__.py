"""The relay: one process that carries the frames of the exchange, as an event loop and a thread for the bus file."""
