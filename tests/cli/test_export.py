"""What `nlbench export` writes and says."""

from __future__ import annotations

import csv
from pathlib import Path

from command_line import Command
from synthetic_records import make_record, matrix

import nlbench


def test_the_rows_of_all_records_are_written_to_one_file(command: Command, tmp_path: Path) -> None:
    for model in ("mlp", "cms"):
        make_record(tmp_path / "results" / f"{model}.parquet", {0: matrix(0.6, 0.9)}, model=model, fingerprint=model)
    (tmp_path / "results" / "notes.parquet").write_text("no record")
    done = command("export", "results", "--out", "all.csv")
    assert (done.code, done.out) == (0, "all.csv: 2 records\n")
    assert done.err.startswith("skipped results/notes.parquet")
    with Path("all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(record.table.num_rows for record in nlbench.load("results"))
    assert {row["model"] for row in rows} == {"mlp", "cms"}


def test_an_ending_that_export_does_not_know_is_one_line(command: Command, tmp_path: Path) -> None:
    make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9)})
    done = command("export", "r.parquet", "--out", "all.xlsx")
    assert (done.code, done.err) == (2, "nlbench: all.xlsx: export knows .csv, .jsonl, .parquet, not '.xlsx'.\n")


def test_a_data_set_for_the_hub_is_a_folder(command: Command, tmp_path: Path) -> None:
    make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9)})
    done = command("export", "r.parquet", "--hub", "dataset")
    assert (done.code, done.out) == (0, "dataset: 1 records\n")
    assert Path("dataset/README.md").read_text(encoding="utf-8").startswith("---\npretty_name:")
    neither = command("export", "r.parquet")
    assert (neither.code, neither.err) == (
        2,
        "nlbench: export writes to one place. Name a file with --out, or a folder with --hub.\n",
    )
