"""Fuzz: random bytes at the protocol's parser, at a whole server and at the client, each checked against the protocol.

With atheris, coverage guides the inputs: one process per target keeps the inputs that reach new code. Without it the
inputs are mutations of the corpus.
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
# The share of the time for each target.
_SHARES = {"parser": 0.3, "server": 0.45, "client": 0.25}
_SHOWN = 1500
_FINDINGS = 5
_STARTUP_S = 60


def run(round: Round) -> None:
    """Feed each target for its share of the time, and with the corpus at least."""
    is_guided = importlib.util.find_spec("atheris") is not None
    if not is_guided:
        print("fuzz: atheris is not installed: inputs are mutations, without coverage guidance", file=sys.stderr)
    for name, share in _SHARES.items():
        folder = round.folder / name
        folder.mkdir()
        (_guide if is_guided else _mutate)(round, name, folder, round.seconds * share)


def seeds(name: str) -> list[bytes]:
    """Return the first inputs of a target; for the client the first byte selects the call."""
    if name != "client":
        return list(REQUESTS)
    return [bytes([number]) + answer for number, answer in enumerate(ANSWERS * 3)]


def _mutate(round: Round, name: str, folder: Path, seconds: float) -> None:
    first = seeds(name)
    mutation = Mutation(round.random, tuple(first), WORDS)
    end = time.monotonic() + seconds
    findings = 0
    with TARGETS[name](folder) as feed:
        while (first or time.monotonic() < end) and findings < _FINDINGS:
            data = first.pop() if first else mutation.next()
            if name == "client" and round.random.random() < 0.5:
                data = bytes([round.random.randrange(256)]) + data[1:]
            round.count(f"{name} inputs")
            try:
                feed(data)
            except Exception as error:
                findings += 1
                _report(round, name, f"{type(error).__name__}: {error}", data)


def _guide(round: Round, name: str, folder: Path, seconds: float) -> None:
    """Fuzz a target in a separate process, with libFuzzer's flags: https://llvm.org/docs/LibFuzzer.html."""
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
    output = ended.stderr + ended.stdout
    executed = re.search(r"number_of_executed_units: (\d+)", output)
    round.count(f"{name} inputs", int(executed[1]) if executed else 0)
    round.count(f"{name} inputs that reached new code", len(list(corpus.iterdir())) - len(seeds(name)))
    for path in sorted(crashes.iterdir()):
        _report(round, name, output[-_SHOWN:], path.read_bytes())
    if ended.returncode and not list(crashes.iterdir()):
        round.report("broken", f"fuzzing the {name} ended with {ended.returncode}: {output[-_SHOWN:]}")


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _report(round: Round, name: str, text: str, data: bytes) -> None:
    command_line = f"python -m scripts.stress.fuzz.reproduce {name} {data.hex()}"
    round.report("broken", f"in the {name}: {text}\n    with the input: {command_line}")
