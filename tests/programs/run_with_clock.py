"""Run another of these programs with a clock that a file steps: `run_with_clock.py FILE NAME ARGUMENTS...`.

`raven` as the name stands for the command. See scripts/stress/clock/run_with_offset.py.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from scripts.stress.clock import run_with_offset

_, file, name, *arguments = sys.argv
sys.argv = ["shifted", file, name if name == "raven" else str(Path(__file__).with_name(f"{name}.py")), *arguments]
run_with_offset.main()
