"""What a caller can call: the table of methods, their parameters, and what each does.

May import: jsonrpc, and raven's client, model and host.
"""
