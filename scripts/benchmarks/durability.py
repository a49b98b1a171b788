"""The cost of `durability="full"`, which puts each send on the disk before it returns, against "normal"."""

from __future__ import annotations

from pathlib import Path

from raven import BusClient
from raven.store.filesystem import filesystem_type
from scripts.benchmarks.interleave import interleave_sides, mean_us
from scripts.benchmarks.metric import Metric
from scripts.benchmarks.send import BODY, RECIPIENT, SENDER


def run(folder: Path, quick: bool) -> list[Metric]:
    rounds, batch = (8, 100) if quick else (30, 300)
    with (
        BusClient.at(SENDER, str(folder / "full.db"), durability="full") as full,
        BusClient.at(SENDER, str(folder / "normal.db"), durability="normal") as normal,
    ):
        on_disk, ordinary = interleave_sides(
            {
                "full": lambda: mean_us(lambda: full.send(RECIPIENT, "work", BODY), batch),
                "normal": lambda: mean_us(lambda: normal.send(RECIPIENT, "work", BODY), batch),
            },
            rounds,
            "us",
        ).values()
    return [Metric.ratio('send with durability="full" against "normal"', on_disk, ordinary, note=_note(folder))]


def _note(folder: Path) -> str:
    kind = filesystem_type(str(folder))
    if kind in ("tmpfs", "ramfs"):
        return f"on {kind}, in memory, without a disk: set TMPDIR to a folder on a disk"
    return f"on {kind}; the difference is one flush of the disk"
