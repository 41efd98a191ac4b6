"""What `nlbench compare` prints in each format, and what it says of files that are no records."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import Command
from compared_records import learner, spread
from synthetic_records import reforged

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


@pytest.mark.parametrize("form", FORMS)
def test_a_column_that_no_table_has_is_refused_with_the_nearest(form: str, command: Command, two: None) -> None:
    wrong = command("compare", "results", "--columns", "seeds,average_acuracy", "--format", form)
    assert (wrong.code, wrong.out) == (2, "")
    assert "unknown column 'average_acuracy'. Did you mean average_accuracy" in wrong.err
    assert "Known: 95 % interval, average_accuracy, bytes" in command("compare", "results", "--columns", "zzz").err
    assert command("compare", "results", "--columns", "p (Holm), terms").code == 0


@pytest.mark.parametrize("form", ["table", "md", "latex"])
def test_columns_are_chosen_in_every_format_that_has_tables(form: str, command: Command, two: None) -> None:
    done = command("compare", "results", "--columns", "seeds,verdict", "--format", form)
    assert done.code == 0
    assert "metric" in done.out
    assert "verdict" in done.out
    assert not any(word in done.out for word in ("bytes", "95 %", "p (Holm)"))


@pytest.mark.parametrize("form", ["csv", "json"])
def test_columns_of_a_format_without_tables_are_refused(form: str, command: Command, two: None) -> None:
    wrong = command("compare", "results", "--columns", "seeds", "--format", form)
    assert (wrong.code, wrong.out) == (2, "")
    assert f"--columns chooses columns of tables: {form} has every fact. Use --format table, md or latex." in wrong.err


@pytest.mark.parametrize("arguments", [("compare", "results"), ("check", "results"), ("run", "-m", "mlp", "-s", "split-digits")])
def test_a_format_that_is_none_names_the_nearest(arguments: tuple[str, ...], command: Command, two: None) -> None:
    wrong = command(*arguments, "--format", "jsn")
    assert (wrong.code, wrong.err) == (2, "nlbench: unknown format 'jsn'. Did you mean json?\n")


def test_references_stand_beside_others_only_where_they_are_asked_for(command: Command, two: None, tmp_path: Path) -> None:
    learner(tmp_path / "results" / "reference", "cms", spread(0.5, 10))
    assert "cms" not in command("compare", "results").out
    assert "cms" in command("compare", "results", "--with-reference").out
    assert "cms" in command("compare", "results/reference").out


NASTY = "x\n::error::planted\x1b[31m\r=HYPERLINK(1)\u202e\x9b2J"
CONTROLS = "\x1b\r\x9b\u202e"


@pytest.mark.parametrize("form", FORMS)
def test_nothing_that_a_record_says_is_obeyed_where_it_is_shown(
    form: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    folder = tmp_path / "results"
    for number in (1, 2):
        spec = {"learner": {"kind": "mlp", "note": f"{NASTY}{number}"}}
        learner(folder, "=cmd|' /C calc'!A0", spread(0.2, 3), learner_spec=spec, fingerprint=f"f{number}")
    learner(folder, "::error::named", spread(0.3, 3), gpu="\\input{/etc/passwd}", stream="##[error]s")
    for arguments in (("compare", "results", "--format", form), ("show", "results"), ("list", "records")):
        done = command(*arguments)
        for line in (done.out + done.err).split("\n"):
            assert not any(character in line for character in CONTROLS)
            assert not line.lstrip().startswith("::")
            assert "##[" not in line or form in ("json", "csv", "md", "latex")
            assert "\\input{" not in line or form != "latex" or arguments[0] != "compare"
    if form == "csv":
        cells = [cell for row in csv.reader(io.StringIO(command("compare", "results", "--format", "csv").out)) for cell in row]
        assert not any(cell.startswith(("=", "@")) for cell in cells)


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\u202eb"])
def test_a_record_with_a_control_character_in_a_name_is_skipped(name: str, command: Command, two: None, tmp_path: Path) -> None:
    good = next((tmp_path / "results").glob("hope*.parquet"))
    said = json.loads(pq.ParquetFile(good).metadata.metadata[b"nlbench"])
    for key in ("model", "stream", "scenario", "precision", "device"):
        reforged(good, tmp_path / "results" / f"bad-{key}.parquet", text=json.dumps({**said, key: name}))
    done = command("compare", "results")
    assert done.code == 0
    assert done.err.count("must have no control character") == 5
    assert name not in done.out + done.err
