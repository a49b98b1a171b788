"""The SQLite file: connection, transactions, migrations, checkpoints, and every statement by name in `sql`.

May import: errors, model, config.
"""
