"""What becomes of a message, inside one transaction: outbox, mailbox, expiry, dead letters, retention.

Imported by `receive`, `query` and what stands on them; imports `wake` and below.
"""
