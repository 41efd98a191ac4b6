"""What `nlbench migrate` says it did to each record."""

from __future__ import annotations

import shutil
from pathlib import Path

from command_line import Command
from synthetic_records import make_record, matrix

import nlbench

OLDEST = Path(__file__).parents[1] / "records" / "data" / "schema-1.parquet"


def test_each_record_is_rewritten_or_up_to_date(command: Command, tmp_path: Path) -> None:
    shutil.copy(OLDEST, "old.parquet")
    make_record(tmp_path / "new.parquet", {0: matrix(0.6, 0.9)})
    before = nlbench.load("old.parquet")[0].accuracies
    again = command("migrate", "new.parquet", "old.parquet")
    assert again.code == 0
    assert again.out.splitlines()[0] == "new.parquet: up to date"
    assert command("migrate", "old.parquet").out == "old.parquet: up to date\n"
    assert (nlbench.load("old.parquet")[0].accuracies == before).all()


def test_what_is_no_record_is_one_line(command: Command) -> None:
    done = command("migrate", "absent.parquet")
    assert (done.code, done.err) == (2, "nlbench: absent.parquet does not exist.\n")
