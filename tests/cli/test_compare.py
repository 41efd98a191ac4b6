"""What `nlbench compare` prints in each format, and what it says of files that are no records."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from command_line import Command
from compared_records import learner, spread

FORMS = ["table", "md", "csv", "json", "latex"]


@pytest.fixture
def two(tmp_path: Path) -> None:
    """Two learners and a file that is no record, in `results`."""
    folder = tmp_path / "results"
    learner(folder, "mlp", spread(0.2, 10))
    learner(folder, "hope", spread(0.8, 10))
    (folder / "notes.parquet").write_text("no record")


@pytest.mark.parametrize("form", FORMS)
def test_every_format_names_the_learners_and_what_was_skipped_goes_elsewhere(form: str, command: Command, two: None) -> None:
    done = command("compare", "results", "--format", form)
    assert done.code == 0
    assert all(name in done.out for name in ("mlp", "hope", "split-digits"))
    assert done.err.startswith("skipped results/notes.parquet is not a Parquet file")
    assert "notes.parquet" not in done.out


def test_formats_hold_the_same_numbers(command: Command, two: None) -> None:
    found = json.loads(command("compare", "results", "--format", "json").out)
    (group,) = found["groups"]
    means = {entry["label"]: entry["estimates"]["average_accuracy"]["mean"] for entry in group["entries"]}
    rows = list(csv.DictReader(io.StringIO(command("compare", "results", "--format", "csv").out)))
    assert {row["learner"]: float(row["mean"]) for row in rows if row["metric"] == "average_accuracy"} == means
    assert group["baseline"] == "mlp"


def test_baseline_and_metrics_are_chosen(command: Command, two: None) -> None:
    chosen = command("compare", "results", "--format", "json", "--baseline", "hope", "--metric", "forgetting")
    (group,) = json.loads(chosen.out)["groups"]
    assert (group["baseline"], group["metrics"]) == ("hope", ["forgetting"])
    wrong = command("compare", "results", "--metric", "forgeting")
    assert (wrong.code, wrong.err) == (
        2,
        "nlbench: unknown metric 'forgeting'. Did you mean forgetting or forgetting_worst or forgetting_first?\n",
    )


def test_references_stand_beside_others_only_where_they_are_asked_for(command: Command, two: None, tmp_path: Path) -> None:
    learner(tmp_path / "results" / "reference", "cms", spread(0.5, 10))
    assert "cms" not in command("compare", "results").out
    assert "cms" in command("compare", "results", "--with-reference").out
    assert "cms" in command("compare", "results/reference").out
