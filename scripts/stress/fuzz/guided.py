"""Fuzz one target, guided by coverage: `python -m scripts.stress.fuzz.guided TARGET FOLDER [libFuzzer's flags]`.

It ends with 0 when its time is over, else at the first input that breaks a promise.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["raven", "raven_rpc", "jsonrpcserver"]):
    from scripts.stress.fuzz.targets import TARGETS


def main() -> None:
    _, name, folder, *flags = sys.argv
    with TARGETS[name](Path(folder)) as feed:
        atheris.Setup([sys.argv[0], *flags], feed)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
