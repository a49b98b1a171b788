"""The benchmark's command line as a process, and docs/benchmarks.md; no test judges the size of a value."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import raven
from scripts.benchmarks import plot
from scripts.benchmarks.catalogue import BENCHMARKS
from scripts.benchmarks.report import Report

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
def test_a_quick_run_prints_its_table_and_leaves_the_same_metrics_as_json_and_as_a_plot(tmp_path: Path) -> None:
    json_file, svg_file, summary = tmp_path / "found.json", tmp_path / "found.svg", tmp_path / "summary.svg"

    done = bench("send", "--quick", "--json", json_file, "--plot", svg_file, "--summary", summary)

    assert done.returncode == 0, done.stderr
    report = Report.load(json_file.read_text(encoding="utf-8"))
    assert done.stdout.splitlines()[0] == f"{report.machine}, raven {raven.__version__}, quick"
    assert report.table() in done.stdout
    assert (report.raven, report.quick, list(report.metrics)) == (raven.__version__, True, ["send"])
    assert svg_file.read_text(encoding="utf-8") == plot.draw(report)
    assert summary.read_text(encoding="utf-8") == plot.draw_summary(report)


@pytest.mark.slow
def test_the_sides_of_a_comparison_have_the_same_number_of_rounds(tmp_path: Path) -> None:
    json_file = tmp_path / "found.json"

    done = bench("--quick", "--json", json_file, "send", "send-many", "send")

    assert done.returncode == 0, done.stderr
    metrics = Report.load(json_file.read_text(encoding="utf-8")).metrics
    assert list(metrics) == ["send", "send-many"]
    assert "[2/2] send-many: " in done.stderr
    for metric in [*metrics["send"], *metrics["send-many"]]:
        assert [side.name.split(",")[0] for side in metric.sides] == ["raven", "bare apsw"]
        assert len({len(side.values) for side in metric.sides}) == 1
        assert len(metric.sides[0].values) > 1


@pytest.mark.slow
def test_progress_is_told_beside_the_table(tmp_path: Path) -> None:
    done = bench("send", "--quick", "--plot", tmp_path / "found.svg")

    assert re.fullmatch(r"\[1/1\] send \.\.\.\n\[1/1\] send: \d+ s\n", done.stderr)
    assert "[1/1]" not in done.stdout
    assert ET.fromstring((tmp_path / "found.svg").read_bytes()).tag.endswith("svg")


def test_an_unknown_name_is_refused_with_the_names_that_there_are() -> None:
    done = bench("send", "sned", "--quick")

    assert (done.returncode, done.stdout) == (2, "")
    assert f"no benchmark 'sned': use {', '.join(BENCHMARKS)}" in done.stderr


@pytest.mark.parametrize("option", ["--json", "--plot", "--summary"])
@pytest.mark.parametrize(("place", "reason"), [("absent/found", "No such file or directory"), ("", "Is a directory")])
def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    option: str, place: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / place

    done = bench("send", "--quick", option, path)

    assert (done.returncode, done.stdout) == (2, "")
    assert f"argument {option}: {path} cannot be written: {reason}\n" in done.stderr
    assert "[1/1]" not in done.stderr


def test_a_file_that_is_there_keeps_what_it_holds_when_nothing_is_measured(tmp_path: Path) -> None:
    kept = tmp_path / "found.json"
    kept.write_text("an hour's metrics", encoding="utf-8")

    done = bench("sned", "--json", kept)

    assert done.returncode == 2
    assert kept.read_text(encoding="utf-8") == "an hour's metrics"


def test_the_help_names_every_benchmark_with_what_it_measures_and_every_option() -> None:
    done = bench("--help")

    assert done.returncode == 0
    listed = dict(re.findall(r"^  ([a-z-]+) {2,}(\S.*)$", done.stdout.partition("names (default: all):")[2], re.M))
    assert listed == {name: benchmark.description for name, benchmark in BENCHMARKS.items()}
    for option in ("--quick", "--json FILE", "--plot FILE.svg", "--summary FILE.svg"):
        assert option in done.stdout


@pytest.mark.slow
def test_the_table_of_the_page_is_printed_from_a_file_of_metrics(tmp_path: Path) -> None:
    json_file = tmp_path / "found.json"
    assert bench("send", "--quick", "--json", json_file).returncode == 0

    done = subprocess.run(
        [sys.executable, "-m", "scripts.benchmarks.report", json_file],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(Report.load(json_file.read_text(encoding="utf-8")).markdown())


def test_the_page_of_benchmarks_shows_the_table_and_the_plot_of_the_stored_metrics() -> None:
    text = (DOCS / "benchmarks.json").read_text(encoding="utf-8")
    report, page = Report.load(text), (DOCS / "benchmarks.md").read_text(encoding="utf-8")

    assert json.loads(report.dump()) == json.loads(text)
    assert report.markdown() in page
    assert all(note in " ".join(page.split()) for note in report.notes())
    assert report.machine in page
    assert "](benchmarks.svg)" in page
    assert (DOCS / "benchmarks.svg").read_text(encoding="utf-8") == plot.draw(report)
    assert (DOCS / "benchmarks-summary.svg").read_text(encoding="utf-8") == plot.draw_summary(report)


def test_the_readme_shows_some_of_the_stored_metrics() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    report = Report.load((DOCS / "benchmarks.json").read_text(encoding="utf-8"))

    performance = readme.partition("## Performance")[2].partition("\n## ")[0]
    metrics = re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", performance, re.MULTILINE)[1:]
    assert len(metrics) == 5
    assert set(metrics) <= {row[:2] for row in report.rows()}
    assert "](docs/benchmarks-summary.svg)" in readme


def test_the_stored_metrics_are_those_of_a_whole_run() -> None:
    report = Report.load((DOCS / "benchmarks.json").read_text(encoding="utf-8"))

    assert list(report.metrics) == list(BENCHMARKS)
    assert not report.quick
