"""What tables and progress show, on a terminal and elsewhere."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from synthetic_records import make_record, matrix, windowed

import nlbench
from nlbench import display
from nlbench.bench.kernels import Progress
from nlbench.display import records, running


@contextmanager
def written(
    monkeypatch: pytest.MonkeyPatch, module: object, console: str, *, terminal: bool = False, width: int = 100
) -> Iterator[io.StringIO]:
    """Give what is written to a console of a module of the display."""
    text = io.StringIO()
    monkeypatch.setattr(module, console, Console(file=text, force_terminal=terminal, width=width, highlight=False))
    yield text


def test_a_terminal_gets_a_live_bar_and_a_line_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = nlbench.resolve("mlp", "split-digits", seeds=1)
    with (
        written(monkeypatch, running, "err", terminal=True) as text,
        display.progress(plan, tmp_path, (0,), quiet=False) as listen,
    ):
        nlbench.run("mlp", "split-digits", seeds=1, results=tmp_path, listen=listen)
    assert "\x1b[" in text.getvalue()
    assert all(f"task {task}/5" in text.getvalue() for task in range(1, 6))
    assert "5/5" in text.getvalue()


@pytest.mark.parametrize(("quiet", "missing"), [(True, (0,)), (False, ())])
def test_nothing_is_shown_when_quiet_or_when_nothing_runs(
    quiet: bool, missing: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = nlbench.resolve("mlp", "split-digits", seeds=1)
    with written(monkeypatch, running, "err") as text, display.progress(plan, tmp_path, missing, quiet=quiet) as listen:
        assert listen is None
    assert text.getvalue() == ""


def test_names_with_brackets_are_not_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9), 1: matrix(0.7, 0.9)}, model="a[red]b", stream="s[bold]")
    with written(monkeypatch, records, "out") as text:
        display.record(record)
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
        display.record(record)
    lines = text.getvalue().splitlines()
    assert any(line.startswith("at chance ") for line in lines) == marked


def test_one_seed_has_no_interval_and_what_was_not_measured_is_a_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    R = np.ma.masked_array(matrix(0.6, 0.9), np.triu(np.ones((6, 5), bool), 0))
    record = make_record(tmp_path / "r.parquet", {0: R})
    with written(monkeypatch, records, "out", width=160) as text:
        display.record(record)
    lines = text.getvalue().splitlines()
    (learning,) = [line for line in lines if line.startswith("learning_accuracy")]
    assert learning.split()[1:4] == ["0.900", "one", "seed"]
    (transfer,) = [line for line in lines if line.startswith("forward_transfer")]
    assert transfer.split()[1] == "–"
    assert "needs row 0 and the entries above the diagonal" in transfer
    row = next(line for line in lines if line.strip().startswith("task 2 "))
    assert row.split() == ["task", "2", "0.900", "0.900", "–", "–", "–"]


def test_a_window_of_one_task_shows_forgetting_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = make_record(tmp_path / "r.parquet", {0: windowed(matrix(0.6, 0.9)), 1: windowed(matrix(0.6, 0.9))})
    with written(monkeypatch, records, "out", width=160) as text:
        display.record(record)
    shown = {line.split()[0]: line.split()[1] for line in text.getvalue().splitlines() if line.startswith(("forgetting", "preq"))}
    assert shown == {"forgetting": "–", "forgetting_first": "0.300", "forgetting_worst": "–"}
    make_record(tmp_path / "whole.parquet", {0: matrix(0.6, 0.9)}, model="cms", fingerprint="cms")
    with written(monkeypatch, import_module("nlbench.display.catalog"), "out", width=200) as text:
        display.catalog("records", tmp_path)
    assert [("0.300 (first)" in line, "0.300 " in line) for line in text.getvalue().splitlines() if ".parquet" in line] == [
        (True, True),
        (False, True),
    ]


def test_forgetting_first_and_prequential_accuracy_are_not_shown_where_they_say_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with written(monkeypatch, records, "out", width=160) as text:
        display.record(make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9)}))
    assert "forgetting_first" not in text.getvalue()
    assert "prequential" not in text.getvalue()


def test_of_many_tasks_some_are_printed_the_first_and_the_last_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9, 91)})
    with written(monkeypatch, records, "out", width=160) as text:
        display.record(record)
    assert "mean accuracy on some of its tasks" in text.getvalue()
    rows = [line.split() for line in text.getvalue().splitlines() if line.strip().startswith("task ")]
    assert [int(row[1]) for row in rows] == [1, 11, 21, 31, 41, 51, 61, 71, 81, 91]
    assert rows[-1][2:] == ["0.600"] * 9 + ["0.900"]


@pytest.mark.parametrize(("evaluate", "whole"), [("window:1", [1, 5]), ("seen", [1, 2, 3, 4, 5])])
def test_accuracy_on_all_tasks_so_far_is_said_where_all_were_measured(
    evaluate: str, whole: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = {"protocol.evaluate": evaluate}
    plan = nlbench.resolve("mlp", "split-digits", seeds=1, overrides=overrides)
    with written(monkeypatch, running, "err") as text, display.progress(plan, tmp_path, (0,), quiet=False) as listen:
        nlbench.run("mlp", "split-digits", seeds=1, results=tmp_path, overrides=overrides, listen=listen)
    said = [line for line in text.getvalue().splitlines() if "accuracy on it" in line]
    assert [task for task, line in enumerate(said, start=1) if "on all so far" in line] == whole


def test_a_listed_record_keeps_its_whole_file_name_however_narrow_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_record(tmp_path / "mlp.split-digits.0123456789abcdef.parquet", {0: matrix(0.6, 0.9)})
    with written(monkeypatch, import_module("nlbench.display.catalog"), "out", width=80) as text:
        display.catalog("records", tmp_path)
    lines = text.getvalue().splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("model "))
    folded = "".join(line[lines[header].index("file") :].strip() for line in lines[header + 1 :])
    assert folded == "mlp.split-digits.0123456789abcdef.parquet"


def test_what_is_to_come_is_dim_and_what_was_just_learned_is_bold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = make_record(tmp_path / "r.parquet", {0: matrix(0.0, 1.0, 2, chance=0.25)})
    with written(monkeypatch, records, "out", terminal=True) as text:
        display.record(record)
    row = next(line for line in text.getvalue().splitlines() if "task 1 " in line and "0.250" in line)
    learned, future = row.split("1.000")[0].rpartition("\x1b[")[2], row.split("0.250")[0].rpartition("\x1b[")[2]
    assert learned.startswith("1;")
    assert future.startswith("2m")


def test_folders_and_files_with_brackets_are_shown_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = import_module("nlbench.display.catalog")
    for folder in ("a[/b]c", "ü [x] %41"):
        make_record(tmp_path / folder / "m[i].parquet", {0: matrix(0.6, 0.9)}, model="m[i]", scenario="[/s]")
        monkeypatch.chdir(tmp_path)
        with written(monkeypatch, catalog, "out", width=200) as text:
            catalog.catalog("records", Path(folder))
        assert f"records in {folder}" in text.getvalue()
        assert "m[i].parquet" in text.getvalue()
        assert "[/s]" in text.getvalue()


def test_a_dry_run_shows_names_with_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = nlbench.resolve("mlp", "split-digits", seeds=1)
    estimate = import_module("nlbench.runner").Estimate(3, {}, {"[/kind]": 10}, 1.0)
    with written(monkeypatch, running, "out", width=200) as text:
        running.dry_run(replace(plan, model="a[/b]", stream_name="s[red]"), estimate, as_json=False)
    assert "a[/b] on s[red]: what would run" in text.getvalue()
    assert "[/kind] 10 B" in text.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_lost_where_there_is_no_room(terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = import_module("nlbench.display.catalog")
    name = "mlp.split-digits." + "0123456789abcdef" * 5 + ".parquet"
    record = make_record(tmp_path / name, {0: matrix(0.6, 0.9, 10), 1: matrix(0.7, 0.9, 10)})
    with written(monkeypatch, records, "out", terminal=terminal, width=40) as text:
        display.record(record)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue())
    assert "…" not in re.sub(r"\d … ", "", plain)
    assert re.search(r"task 9 +(0\.900 +){9}0\.100", plain)
    (row,) = [line for line in plain.splitlines() if line.startswith("average_accuracy")]
    assert re.search(r"\d\.\d{3} … \d\.\d{3}", row)
    with written(monkeypatch, catalog, "out", terminal=terminal, width=40) as text:
        catalog.catalog("records", tmp_path)
    (row,) = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", text.getvalue()).splitlines() if "0123456789abcdef" in line]
    assert row.split()[:4] == ["mlp", "split-digits", "class-il", "2"]
    assert name in row


def test_nothing_runs_beside_what_the_benchmark_of_kernels_times(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(threading.enumerate())
    with (
        written(monkeypatch, import_module("nlbench.display.kernels"), "err", terminal=True) as text,
        display.benchmarking() as listen,
    ):
        listen(Progress("checked", 1, 2, "op-case", "float32"))
        (spinner,) = set(threading.enumerate()) - before
        listen(Progress("checked", 2, 2, "op-case", "bfloat16"))
        spinner.join(2.0)
        assert not spinner.is_alive()
        listen(Progress("timed", 0, 1, "op-case", "float32", peer="titans-pytorch"))
        assert set(threading.enumerate()) == before
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    assert "2 of 2 checked, last op-case (bfloat16)" in plain
    assert "0 of 1 timed, now op-case (float32), beside titans-pytorch, whose first call may compile for minutes" in " ".join(
        plain.split()
    )
