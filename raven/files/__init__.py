"""Files: whose a file is, and who else can change it; no SQLite.

Imported by `config`, `store`, `wake`, `doctor` and the `jsonrpc` of raven_rpc; imports `errors`.
"""
