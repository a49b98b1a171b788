"""The server: sockets, limits of connections, and uvicorn.

Imported by the public face alone; imports `app`, and all below.
"""
