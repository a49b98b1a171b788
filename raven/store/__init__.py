"""The SQLite file: connection, transactions, migrations, checkpoints, and every statement by name in `sql`.

Imported by `wake`, `transaction` and what stands on them; imports `config` and below.
"""
