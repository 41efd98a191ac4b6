"""What `nlbench publish` writes and says."""

from __future__ import annotations

from pathlib import Path

from command_line import Command
from compared_records import learner, spread


def test_a_site_is_written_and_named(command: Command, tmp_path: Path) -> None:
    learner(tmp_path / "results", "mlp", spread(0.2, 3))
    (tmp_path / "results" / "notes.parquet").write_text("no record")
    done = command("publish", "results", "site")
    assert done.code == 0
    assert done.out.startswith("site/index.html: 1 record on 1 stream, largest page ")
    assert done.err.startswith("skipped results/notes.parquet")
    assert Path("site/index.html").is_file()
    assert "notes.parquet" not in Path("site/index.html").read_text(encoding="utf-8")


def test_a_folder_of_something_else_is_left_alone(command: Command, tmp_path: Path) -> None:
    learner(tmp_path / "results", "mlp", spread(0.2, 2))
    done = command("publish", "results", "results")
    assert (done.code, done.out) == (2, "")
    assert done.err == "nlbench: results: holds files that were not published there. Name an empty folder.\n"
