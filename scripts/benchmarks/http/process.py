"""HTTP server process of a benchmark, from its start to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from scripts.benchmarks.http.client import Endpoint
from scripts.harness.program import Program


class HttpServer(Program):
    """A process of `server.py`; inside the `with` block it listens at `endpoint`."""

    def __init__(self, folder: Path, kind: Literal["raven", "bare"] = "raven", *options: str) -> None:
        self.db = str(folder / f"http-{kind}.db")
        self._token_file = Path(f"{self.db}.http-token")
        super().__init__("benchmarks.http.server", kind, self.db, *options)

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            port = int(self.line())
            has_token = self._token_file.exists()
            self.endpoint = Endpoint(port, self._token_file.read_text(encoding="ascii").strip() if has_token else "")
        except BaseException:
            self.end()
            raise
        return self
