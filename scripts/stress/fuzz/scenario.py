"""Fuzz: bytes at the parser of the protocol, at a whole helper and at the client, each held to what is promised.

With atheris the inputs are guided by coverage: a process per target, which keeps what has reached new code. Elsewhere
they are mutations of the corpus.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

from scripts.stress.fuzz.corpus import ANSWERS, REQUESTS, WORDS
from scripts.stress.fuzz.mutation import Mutation
from scripts.stress.fuzz.targets import TARGETS
from scripts.stress.trial import Round

_ROOT = Path(__file__).parents[3]
# What each target has of the time.
_SHARES = {"parser": 0.3, "helper": 0.45, "client": 0.25}
_SHOWN = 1500
_FINDINGS = 5
_STARTUP_S = 60


def run(round: Round) -> None:
    """Feed each target for its share of the time, at least some inputs."""
    is_guided = importlib.util.find_spec("atheris") is not None
    if not is_guided:
        print("fuzz: atheris is not installed here: inputs are mutated, and not guided by coverage", file=sys.stderr)
    for name, share in _SHARES.items():
        folder = round.folder / name
        folder.mkdir()
        (_guide if is_guided else _mutate)(round, name, folder, round.seconds * share)


def seeds(name: str) -> list[bytes]:
    """Return what fuzzing a target begins with; for the client the first byte says what it calls."""
    if name != "client":
        return list(REQUESTS)
    return [bytes([number]) + answer for number, answer in enumerate(ANSWERS * 3)]


def _mutate(round: Round, name: str, folder: Path, seconds: float) -> None:
    first = seeds(name)
    mutation = Mutation(round.random, tuple(first), WORDS)
    end = time.monotonic() + seconds
    found = 0
    with TARGETS[name](folder) as feed:
        while (first or time.monotonic() < end) and found < _FINDINGS:
            data = first.pop() if first else mutation.next()
            if name == "client" and round.random.random() < 0.5:
                data = bytes([round.random.randrange(256)]) + data[1:]
            round.count(f"{name} inputs")
            try:
                feed(data)
            except Exception as error:
                found += 1
                _tell(round, name, f"{type(error).__name__}: {error}", data)


def _guide(round: Round, name: str, folder: Path, seconds: float) -> None:
    """Have a process of its own fuzz a target, with libFuzzer's flags: https://llvm.org/docs/LibFuzzer.html."""
    corpus, crashes = folder / "corpus", folder / "crashes"
    corpus.mkdir()
    crashes.mkdir()
    for number, data in enumerate(seeds(name)):
        (corpus / f"{number}").write_bytes(data)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS), encoding="utf-8")
    flags = {
        "seed": round.random.randrange(1, 2**31),
        "max_total_time": max(1, int(seconds)),
        "max_len": 6000,
        "timeout": 30,
        "dict": words,
        "artifact_prefix": f"{crashes}/",
        "print_final_stats": 1,
    }
    command = [sys.executable, "-m", "scripts.stress.fuzz.guided", name, str(folder)]
    command += [*(f"-{flag}={value}" for flag, value in flags.items()), str(corpus)]
    ended = subprocess.run(
        command, cwd=_ROOT, capture_output=True, text=True, errors="replace", timeout=seconds + _STARTUP_S, check=False
    )
    said = ended.stderr + ended.stdout
    executed = re.search(r"number_of_executed_units: (\d+)", said)
    round.count(f"{name} inputs", int(executed[1]) if executed else 0)
    round.count(f"{name} inputs that reached new code", len(list(corpus.iterdir())) - len(seeds(name)))
    for path in sorted(crashes.iterdir()):
        _tell(round, name, said[-_SHOWN:], path.read_bytes())
    if ended.returncode and not list(crashes.iterdir()):
        round.report("broken", f"fuzzing the {name} ended with {ended.returncode}: {said[-_SHOWN:]}")


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _tell(round: Round, name: str, what: str, data: bytes) -> None:
    again = f"python -m scripts.stress.fuzz.reproduce {name} {data.hex()}"
    round.report("broken", f"in the {name}: {what}\n    with the input: {again}")
