"""Link: buses of three hosts, linked by relays over NATS, while relays, servers, files, clocks and networks fail."""
