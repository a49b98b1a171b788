"""Folder name: the name of the folder with the doorbells of an address."""

from __future__ import annotations

_MAX_NAME = 200
# No capitals: some file systems ignore case.
_UNESCAPED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.:@+,=-")


def folder_name(address: str) -> str:
    """Return a file name for an address that no other address has, on any file system.

    Too long an address is hashed. So is an invalid one, which an external writer can store: `..`, for instance.
    """
    if len(address) <= _MAX_NAME and ":" in address:
        if _UNESCAPED.issuperset(address):
            return address
        name = "".join(
            char if char in _UNESCAPED else "".join(f"%{byte:02x}" for byte in char.encode()) for char in address
        )
        if len(name) <= _MAX_NAME:
            return name
    from hashlib import sha256

    return sha256(address.encode()).hexdigest()
