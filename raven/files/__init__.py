"""Files: whose a file is, and who else can change it; no SQLite.

Imported by `config`, `store`, `wake`, `doctor`, the `jsonrpc` of raven_rpc and the `guard` of raven_http;
imports `errors`.
"""
