"""The SQLite file: connection, transactions, migrations, checkpoints, and every statement by name in `sql`.

Imported by `agents`, `wake`, `transaction` and the packages above them; imports `config` and below.
"""
