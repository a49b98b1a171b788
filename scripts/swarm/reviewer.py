"""A reviewer in Python: competes with its like, the shell script among them, for files to review.

What both look for in a file is the same, so that the findings do not depend on who got it: lines over 120 characters,
blanks at the end of a line, bare `except:`, and a first line that is neither a docstring nor a comment.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from raven import BusClient

_FUNCTION = re.compile(r"^ *(async )?def ")


def main() -> None:
    with BusClient("demo", "reviewer") as bus:
        for message in bus.listen(timeout_s=100):
            if message.type == "stop":
                break
            body = {**review(message.body["path"]), "by": f"python {os.getpid()}"}
            bus.send("editor:demo", "findings", body, correlation_id=message.id, reply_to=message.id)


def review(path: str) -> dict[str, Any]:
    """Review one file: its size, and what is wrong with it by line number."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    findings: list[str] = []
    if lines and not re.match(r'r?"""|#', lines[0]):
        findings.append("1: no docstring")
    for number, line in enumerate(lines, 1):
        if len(line) > 120:
            findings.append(f"{number}: over 120 characters")
        if line != line.rstrip():
            findings.append(f"{number}: blanks at the end")
        if re.match(r"^ *except:", line):
            findings.append(f"{number}: bare except")
    functions = sum(bool(_FUNCTION.match(line)) for line in lines)
    return {"path": path, "lines": len(lines), "functions": functions, "findings": findings}


if __name__ == "__main__":
    main()
