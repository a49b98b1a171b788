"""The link: one relay per bus and host, which carries the frames of the exchange over NATS JetStream.

Imported by `doctor` and `cli`; imports `client`, `exchange` and below.
"""
