"""What `nlbench diff` prints of two records."""

from __future__ import annotations

from pathlib import Path

from command_line import Command
from synthetic_records import make_record, matrix


def test_facts_that_differ_stand_side_by_side(command: Command, tmp_path: Path) -> None:
    for name, facts in (("a", {}), ("b", {"backend": "numba", "learner_spec": {"learner": {"kind": "mlp", "width": 512}}})):
        make_record(tmp_path / f"{name}.parquet", {0: matrix(0.6, 0.9)}, **facts)
    done = command("diff", "a.parquet", "b.parquet")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines() if line.strip() and "─" not in line]
    assert rows == [
        ["fact", "a.parquet", "b.parquet"],
        ["backend", "reference", "numba"],
        ["learner_spec.learner.width", "256", "512"],
    ]
    assert command("diff", "a.parquet", "a.parquet").out == "no fact differs\n"


def test_what_is_no_record_is_one_line(command: Command) -> None:
    done = command("diff", "a.parquet", "b.parquet")
    assert (done.code, done.err) == (2, "nlbench: a.parquet does not exist.\n")
