"""What is shown of a record."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from consoles import written
from synthetic_records import make_record, matrix, windowed

from nlbench.display import records


def test_names_with_brackets_are_not_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9), 1: matrix(0.7, 0.9)}, model="a[red]b", stream="s[bold]")
    with written(monkeypatch, records, "out") as text:
        records.record(record)
    assert "a[red]b on s[bold] (class-il), seeds 0 to 1: mean accuracy on each task" in text.getvalue()


@pytest.mark.parametrize(("learned", "marked"), [(0.5, True), (0.9, False)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_learning_that_is_not_above_chance_is_marked_beside_forgetting(
    learned: float, marked: bool, seeds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matrices = {seed: matrix(learned - 0.1, learned + 0.03 * seed) for seed in range(seeds)}
    record = make_record(
        tmp_path / "r.parquet", matrices, chance=0.5
    )  # the mean of three seeds is above it, their interval is not
    with written(monkeypatch, records, "out") as text:
        records.record(record)
    lines = text.getvalue().splitlines()
    assert any(line.startswith("not shown above chance ") for line in lines) == marked


def test_an_interval_is_cut_and_each_accuracy_stands_beside_its_own_chance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_record(tmp_path / "r.parquet", {0: matrix(0.2, 0.9), 1: matrix(0.7, 0.99)})
    with written(monkeypatch, records, "out", width=160) as text:
        records.record(record)
    rows = {line.split()[0]: line.split()[1:] for line in text.getvalue().splitlines() if line[:1].isalpha()}
    assert rows["average_accuracy"][:5] == ["0.549", "0.000", "…", "1.000", "0.100"]
    assert rows["learning_accuracy"][:5] == ["0.945", "0.373", "…", "1.000", "0.500"]
    assert rows["forgetting"][:5] == ["0.495", "-1.000", "…", "1.000", "lower"]
    found = records.plain(record)["metrics"]
    assert (found["average_accuracy"]["low"], found["average_accuracy"]["high"]) == (0, 1)
    assert (found["average_accuracy"]["chance"], found["learning_accuracy"]["chance"]) == (0.1, 0.5)


def test_one_seed_has_no_interval_and_what_was_not_measured_is_a_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    R = np.ma.masked_array(matrix(0.6, 0.9), np.triu(np.ones((6, 5), bool), 0))
    record = make_record(tmp_path / "r.parquet", {0: R})
    with written(monkeypatch, records, "out", width=160) as text:
        records.record(record)
    lines = text.getvalue().splitlines()
    (learning,) = [line for line in lines if line.startswith("learning_accuracy")]
    assert learning.split()[1:4] == ["0.900", "one", "seed"]
    (transfer,) = [line for line in lines if line.startswith("forward_transfer")]
    assert transfer.split()[1:] == ["–"]
    (why,) = [line for line in lines if line.startswith("– ") and "needs row 0 and the entries above the diagonal" in line]
    assert "forward_transfer" in why
    names = "min_accuracy, worst_case_accuracy, learning_curve_area"
    needs = "needs accuracy_within, which the stream did not measure: --set protocol.evaluate_every=N, in samples, does"
    assert f"– {names}: {needs}" in lines
    row = next(line for line in lines if line.strip().startswith("task 2 "))
    assert row.split() == ["task", "2", "0.900", "0.900", "–", "–", "–"]


def test_a_window_of_one_task_shows_forgetting_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = make_record(tmp_path / "r.parquet", {0: windowed(matrix(0.6, 0.9)), 1: windowed(matrix(0.6, 0.9))})
    with written(monkeypatch, records, "out", width=160) as text:
        records.record(record)
    shown = {line.split()[0]: line.split()[1] for line in text.getvalue().splitlines() if line.startswith(("forgetting", "preq"))}
    assert shown == {"forgetting": "–", "forgetting_first": "0.300", "forgetting_worst": "–"}


def test_forgetting_first_and_prequential_accuracy_are_not_shown_where_they_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with written(monkeypatch, records, "out", width=160) as text:
        records.record(make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9)}))
    assert "forgetting_first" not in text.getvalue()
    assert "prequential" not in text.getvalue()


def test_of_many_tasks_some_are_printed_the_first_and_the_last_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9, 91)})
    with written(monkeypatch, records, "out", width=160) as text:
        records.record(record)
    assert "mean accuracy on some of its tasks" in text.getvalue()
    rows = [line.split() for line in text.getvalue().splitlines() if line.strip().startswith("task ")]
    assert [int(row[1]) for row in rows] == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91]
    assert rows[-1][2:] == ["0.600"] * 9 + ["0.900"]


def test_what_is_to_come_is_dim_and_what_was_just_learned_is_bold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = make_record(tmp_path / "r.parquet", {0: matrix(0.0, 1.0, 2, chance=0.25)})
    with written(monkeypatch, records, "out", terminal=True) as text:
        records.record(record)
    row = next(line for line in text.getvalue().splitlines() if "task 1 " in line and "0.250" in line)
    learned, future = row.split("1.000")[0].rpartition("\x1b[")[2], row.split("0.250")[0].rpartition("\x1b[")[2]
    assert learned.startswith("1;")
    assert future.startswith("2m")


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_lost_where_there_is_no_room(terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "mlp.split-digits." + "0123456789abcdef" * 5 + ".parquet"
    record = make_record(tmp_path / name, {0: matrix(0.6, 0.9, 10), 1: matrix(0.7, 0.9, 10)})
    with written(monkeypatch, records, "out", terminal=terminal, width=40) as text:
        records.record(record)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue())
    assert "…" not in re.sub(r"\d … ", "", plain)
    assert re.search(r"task 9 +(0\.900 +){9}0\.100", plain)
    (row,) = [line for line in plain.splitlines() if line.startswith("average_accuracy")]
    assert re.search(r"\d\.\d{3} … \d\.\d{3}", row)
