"""Feed a target with one input in hex, to reproduce a finding: `python -m scripts.stress.fuzz.reproduce TARGET HEX`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from scripts.stress.fuzz.targets import TARGETS


def main() -> None:
    _, name, text = sys.argv
    with tempfile.TemporaryDirectory() as folder, TARGETS[name](Path(folder)) as feed:
        feed(bytes.fromhex(text))
    print("the target accepts this input")


if __name__ == "__main__":
    main()
