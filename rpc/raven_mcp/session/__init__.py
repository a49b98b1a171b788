"""Who the agent of this process is, what it has been told of its mail, and how it is told.

Imported by `hooks` and `tools`; `announced` and `flags` import neither the client nor the file's store: hooks use them.
"""
