"""Transport: writes the head and the body of an answer together."""

from __future__ import annotations

from asyncio import Transport
from typing import Any


class JoiningTransport:
    """A transport that can hold written parts back, and then writes them in one system call.

    A system call that writes to a socket takes long, because the reader wakes up in it.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._held: list[bytes] | None = None

    def write(self, data: bytes) -> None:
        """Write a part, or hold it."""
        if self._held is None:
            self._transport.write(data)
        else:
            self._held.append(data)

    def hold(self) -> None:
        """Hold all parts that are written from now on."""
        self._held = []

    def release(self) -> None:
        """Write the held parts, and hold no more of them."""
        held, self._held = self._held, None
        if held:
            self._transport.write(b"".join(held))

    def write_eof(self) -> None:
        """End the output after all parts."""
        self.release()
        self._transport.write_eof()

    def close(self) -> None:
        """Close after all parts."""
        self.release()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """Return any other attribute of the transport."""
        return getattr(self._transport, name)
