"""The rules of deliveries, inside one transaction: outbox, mailbox, expiry, dead letters, retention.

Imported by `receive`, `query` and the packages above them; imports `wake` and below.
"""
