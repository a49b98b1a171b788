"""The tasks trial: asyncio tasks, threads, transactions and cancellations on the same clients."""
