"""Peers: other queues that raven is compared with, each in a module of its own."""
