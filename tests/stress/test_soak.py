"""The soak in its short form, and tests of its growth check and its plot."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from scripts.stress.catalogue import TRIALS
from scripts.stress.soak import plot
from scripts.stress.soak.samples import Sample, growths
from tests.processes import needs_proc


def flat(count: int = 50) -> list[Sample]:
    return [Sample(float(n), n * 10, n // 5, 4.0, 16.0, {"server": 45.0}, {"server": 20}) for n in range(count)]


@pytest.mark.slow
@needs_proc
def test_a_short_soak_loses_nothing_and_stays_flat(tmp_path: Path) -> None:
    outcome = TRIALS["soak"].run(tmp_path, seconds=8, seed=6, rounds=1)

    assert not outcome.findings
    assert outcome.counts["messages"] > 100
    assert outcome.counts["kills"] + outcome.counts["normal exits"] > 0
    assert ET.fromstring(outcome.plot).tag.endswith("svg")


def test_constant_samples_are_flat() -> None:
    assert growths(flat()) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("memory_mib", {"server": 60.0}, "memory of server grew from 45.0 to 60.0 MiB"),
        ("descriptors", {"server": 40}, "descriptors of server grew from 20.0 to 40.0"),
        ("file_mib", 8.0, "the file grew from 4.0 to 8.0 MiB"),
    ],
)
def test_a_growing_resource_is_named(name: str, value: object, words: str) -> None:
    samples = flat()
    samples[30:] = [sample._replace(**{name: value}) for sample in samples[30:]]

    assert [growth.strip() for growth in growths(samples)] == [words]


def test_a_wal_that_was_large_for_a_moment_is_named() -> None:
    samples = flat()
    samples[25] = samples[25]._replace(wal_mib=80.0)

    assert growths(samples) == ["the WAL reached 80 MiB, over 48"]


def test_the_plot_has_a_curve_for_each_thing_measured_and_names_it() -> None:
    root = ET.fromstring(plot.draw(flat()))
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]

    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 5
    assert {"server 45", "server 20", "database 4", "WAL 16"} <= set(texts)
