"""Generated documentation: the pages that `scripts/docs` writes from help texts, docstrings and `rpc.discover`."""
