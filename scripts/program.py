"""Program: a process of this folder, with which a benchmark or a trial talks in lines, and which it ends."""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_ROOT = Path(__file__).parents[1]
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Program:
    """`python -m scripts.<module>` with these arguments; left, it is no more.

    With `greets` it prints a line when it is ready, and has done so when this is entered.
    """

    def __init__(self, module: str, *arguments: str, greets: bool = False) -> None:
        self._greets = greets
        self._name = module
        self._read = b""
        # In a group of its own: Ctrl-C is this process's to hear, and to end the others.
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"scripts.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd=_ROOT,
            process_group=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        try:
            if self._greets:
                self.line()
        except BaseException:
            self.end()
            raise
        return self

    def tell(self, line: str) -> None:
        """Write a line to the program's standard input."""
        self._stdin.write(f"{line}\n".encode())

    def line(self, timeout_s: float = 60) -> str:
        """Return the next line that the program prints; raises TimeoutError, or RuntimeError where it has ended."""
        poller = select.poll()
        poller.register(self._stdout, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._read:
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError(f"{self._name} has said nothing for {timeout_s:g} s")
            data = os.read(self._stdout.fileno(), 1 << 16)
            if not data:
                raise RuntimeError(f"{self._name} has ended")
            self._read += data
        line, _, self._read = self._read.partition(b"\n")
        return line.decode()

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is no more."""
        return self._process.poll() is not None

    def cpu_s(self) -> float:
        """Return the CPU time that the process has used, to the nanosecond: see clock_getcpuclockid(3)."""
        clock = ctypes.c_int()
        if ctypes.CDLL(None).clock_getcpuclockid(self._process.pid, ctypes.byref(clock)):
            raise RuntimeError(f"{self._name} has ended")
        return time.clock_gettime(clock.value)

    def memory_mib(self) -> float:
        """Return the memory that the process holds, see proc(5)."""
        return int(Path(f"/proc/{self._process.pid}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE / 2**20

    def signal(self, number: int) -> None:
        """Send the process a signal; one that has ended gets none."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 60) -> int:
        """Wait for the end of the process, and return its exit code; raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def end(self) -> None:
        """Kill the process; twice is fine."""
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
