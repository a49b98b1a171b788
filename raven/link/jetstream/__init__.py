"""JetStream: the connection to a NATS server, and the objects that the link needs there; no frame and no card."""
