"""Program: a process that exchanges lines with a test, a benchmark or a trial, which also ends it."""

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

from scripts.harness.deadline import Deadline

_ROOT = Path(__file__).parents[2]
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Program:
    """`python -m scripts.<name>`, or a Python file, with these arguments; it ends with the `with` block.

    With `greets` the program prints a line when it is ready, and `__enter__` waits for that line.
    """

    def __init__(self, name: str, *arguments: object, greets: bool = False, umask: int = -1) -> None:
        self.name = name
        self.read_so_far = b""
        self._greets = greets
        program = [name] if name.endswith(".py") else ["-m", f"scripts.{name}"]
        # In its own process group, so that Ctrl-C reaches only this process, which then ends the program. Buffered, so
        # that one system call writes a whole line, which a kill cannot cut.
        self._process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd=_ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
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
        """Return the descriptor of the program's output, for poll."""
        return self._stdout.fileno()

    def tell(self, line: str) -> None:
        """Write a line to the program's standard input."""
        self._stdin.write(f"{line}\n".encode())

    def line(self, timeout_s: float = 60) -> str:
        """Return the next line of the program's output; TimeoutError after `timeout_s`, RuntimeError at its end."""
        poller = select.poll()
        poller.register(self._stdout, select.POLLIN)
        deadline = Deadline(timeout_s)
        while b"\n" not in self.read_so_far:
            if not deadline.poll(poller):
                raise TimeoutError(f"{self.name} printed nothing for {timeout_s:g} s")
            if not self.fill():
                raise RuntimeError(f"{self.name} has ended")
        line, _, self.read_so_far = self.read_so_far.partition(b"\n")
        return line.decode()

    def fill(self) -> bool:
        """Read once from the program's output; returns False at its end."""
        data = os.read(self._stdout.fileno(), 1 << 16)
        self.read_so_far += data
        return bool(data)

    def lines(self) -> list[str]:
        """Return the complete lines that `fill` has read and `line` has not returned."""
        *lines, self.read_so_far = self.read_so_far.split(b"\n")
        return [line.decode() for line in lines]

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def cpu_s(self) -> float:
        """Return the CPU time of the process so far, in nanosecond resolution: see clock_getcpuclockid(3)."""
        return cpu_s(self.pid)

    def memory_mib(self) -> float:
        """Return the resident memory of the process; 0 if it is unknown."""
        return memory_mib(self.pid)

    def signal(self, number: int) -> None:
        """Send a signal to the process, unless it has ended."""
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 60) -> int:
        """Wait for the end of the process, and return its exit code; raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """Kill the process with SIGKILL, and reap it; a second call does nothing."""
        self._process.kill()
        self._process.wait()

    def close_input(self) -> None:
        """Close the program's standard input; a second call does nothing."""
        self._stdin.close()

    def end(self) -> None:
        """Kill the process and close its pipes; a second call does nothing."""
        self.kill()
        self.close_input()
        self._stdout.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process so far, in nanosecond resolution; RuntimeError if it has ended."""
    clock = ctypes.c_int()
    if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise RuntimeError(f"process {pid} has ended")
    return time.clock_gettime(clock.value)


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process, see proc(5); 0 without /proc or without such a process."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE / 2**20
    return 0.0


def descriptors(pid: int) -> int:
    """Return the number of open descriptors of a process, see proc(5); 0 without /proc or without such a process."""
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0
