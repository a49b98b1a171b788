"""Program: a process with which a test, a benchmark or a trial talks in lines, and which it ends."""

from __future__ import annotations

import ctypes
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_ROOT = Path(__file__).parents[2]
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Program:
    """`python -m scripts.<name>`, or a file of Python, with these arguments; left, it is no more.

    With `greets` it prints a line when it is ready, and has done so when this is entered.
    """

    def __init__(self, name: str, *arguments: object, greets: bool = False, umask: int = -1) -> None:
        self.name = name
        self.read_so_far = b""
        self._greets = greets
        program = [name] if name.endswith(".py") else ["-m", f"scripts.{name}"]
        # In a group of its own: Ctrl-C is this process's to hear, and to end the others.
        self._process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd=_ROOT,
            process_group=0,
            umask=umask,
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

    def fileno(self) -> int:
        """Return the descriptor that turns readable when the program has printed something."""
        return self._stdout.fileno()

    def tell(self, line: str) -> None:
        """Write a line to the program's standard input."""
        self._stdin.write(f"{line}\n".encode())

    def line(self, timeout_s: float = 60) -> str:
        """Return the next line that the program prints; raises TimeoutError, or RuntimeError if it has ended."""
        poller = select.poll()
        poller.register(self._stdout, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self.read_so_far:
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError(f"{self.name} has said nothing for {timeout_s:g} s")
            if not self.fill():
                raise RuntimeError(f"{self.name} has ended")
        line, _, self.read_so_far = self.read_so_far.partition(b"\n")
        return line.decode()

    def fill(self) -> bool:
        """Read once from the program's output; returns whether something came, False at its end."""
        data = os.read(self._stdout.fileno(), 1 << 16)
        self.read_so_far += data
        return bool(data)

    def lines(self) -> list[str]:
        """Return the whole lines that were read and not yet returned."""
        *lines, self.read_so_far = self.read_so_far.split(b"\n")
        return [line.decode() for line in lines]

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
            raise RuntimeError(f"{self.name} has ended")
        return time.clock_gettime(clock.value)

    def memory_mib(self) -> float:
        """Return the memory that the process holds; 0 if that cannot be known."""
        return memory_mib(self.pid)

    def signal(self, number: int) -> None:
        """Send the process a signal; one that has ended gets none."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 60) -> int:
        """Wait for the end of the process, and return its exit code; raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """Kill the process with -9, and reap it; twice is fine."""
        self._process.kill()
        self._process.wait()

    def close_input(self) -> None:
        """End the program's standard input; twice is fine."""
        self._stdin.close()

    def end(self) -> None:
        """Kill the process and close the pipes to it; twice is fine."""
        self.kill()
        self.close_input()
        self._stdout.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def memory_mib(pid: int) -> float:
    """Return the memory that a process holds, see proc(5); 0 if there is no /proc, or no such process."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE / 2**20
    return 0.0


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has open, see proc(5); 0 if there is no /proc, or no such process."""
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0
