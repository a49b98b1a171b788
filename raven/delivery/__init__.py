"""What becomes of a message, inside one transaction: outbox, mailbox, expiry, dead letters, retention.

May import: wake and below.
"""
