"""What `nlbench report` writes and says."""

from __future__ import annotations

from pathlib import Path

from command_line import Command
from compared_records import learner, spread


def test_a_page_and_figures_are_written_and_named(command: Command, tmp_path: Path) -> None:
    learner(tmp_path / "results", "mlp", spread(0.2, 3))
    (tmp_path / "results" / "notes.parquet").write_text("no record")
    done = command("report", "results", "--out", "page.html", "--figures", "figures")
    assert done.code == 0
    page, figures = done.out.splitlines()
    assert page.startswith("page.html: ")
    assert figures == f"figures: {len(list(Path('figures').iterdir()))} files"
    assert done.err.startswith("skipped results/notes.parquet")
    assert "skipped results/notes.parquet" in Path("page.html").read_text(encoding="utf-8")


def test_a_folder_is_no_page(command: Command, tmp_path: Path) -> None:
    learner(tmp_path / "results", "mlp", spread(0.2, 2))
    done = command("report", "results", "--out", "results")
    assert (done.code, done.err) == (
        2,
        "nlbench: results is a folder, not a file. Name the page, for example --out report.html.\n",
    )
