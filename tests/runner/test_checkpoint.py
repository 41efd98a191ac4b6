"""What a killed or interrupted run leaves is enough to end as if it had not been; what is damaged says so."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_streams import untimed

import nlbench
from nlbench.errors import RecordError
from nlbench.records import Record, Row
from nlbench.runner import Checkpoint, execution
from nlbench.runner import checkpoint as checkpoints


def rows_by_seed(record: Record) -> list[Row]:
    """Return all rows but timings, in an order that does not depend on which seeds ran when."""
    columns = record.to_pandas()[list(Row._fields)]
    return sorted(
        untimed([Row(*row) for row in columns.astype(object).where(columns.notna(), None).itertuples(index=False)]), key=str
    )


def stop_at(task: int, nth: int = 12) -> Any:
    """Return a listener that raises KeyboardInterrupt in the middle of a task."""
    seen = []

    def listen(row: Row) -> None:
        if row.metric == "accuracy_within" and row.after_task == task - 1:
            seen.append(row)
            if len(seen) == nth:
                raise KeyboardInterrupt

    return listen


def interrupted(results: Path, task: int = 3, **options: Any) -> Checkpoint:
    """Run the MLP on split-digits, interrupt it within a task, and return its checkpoint."""
    with pytest.raises(KeyboardInterrupt):
        nlbench.run("mlp", "split-digits", seeds=2, results=results, listen=stop_at(task), **options)
    checkpoint = Checkpoint.of(nlbench.resolve("mlp", "split-digits", seeds=2), results)
    assert checkpoint.path.is_file()
    assert not list(results.glob("*.parquet"))
    return checkpoint


KILLED = """
import os, signal, sys
import nlbench
model, stream, results, task = *sys.argv[1:4], int(sys.argv[4])
seen = []

def listen(row):
    if row.metric == "accuracy_within" and row.after_task == task - 1:
        seen.append(row)
        if len(seen) == 8:
            os.kill(os.getpid(), signal.SIGKILL)

nlbench.run(model, stream, seeds=SEEDS, results=results, device="cpu", listen=listen)
"""


@pytest.mark.parametrize(
    ("model", "stream", "seeds"),
    [("cms", "split-digits", "2"), pytest.param("mlp", "split-mnist", "1", marks=pytest.mark.mnist)],
)
def test_a_run_killed_within_three_tasks_resumes_each_time_and_ends_as_if_never_killed(
    model: str, stream: str, seeds: str, tmp_path: Path
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for task in (2, 3, 5):
        command = [sys.executable, "-c", KILLED.replace("SEEDS", seeds), model, stream, str(killed), str(task)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        checkpoint = Checkpoint.of(nlbench.resolve(model, stream, seeds=seeds), killed)
        _, completed, state = checkpoint.load()
        assert completed == task - 1
        assert state
        assert not list(killed.glob("*.parquet"))
    listened: list[Row] = []
    finished = nlbench.run(model, stream, seeds=seeds, results=killed, device="cpu", listen=listened.append)
    uninterrupted = nlbench.run(model, stream, seeds=seeds, results=whole, device="cpu")
    assert rows_by_seed(finished.record) == rows_by_seed(uninterrupted.record)
    assert [row.after_task for row in listened if row.metric == "seconds.evaluate"] == [0, 1, 2, 3, 4, 5]
    assert not checkpoint.path.exists()


def test_an_interrupted_run_trains_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path, task=4)
    asked, real = [], execution.evaluate_stream

    def spying(*args: Any, **options: Any) -> Any:
        asked.append(options["completed"])
        return real(*args, **options)

    monkeypatch.setattr(execution, "evaluate_stream", spying)
    nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path)
    assert asked == [3]


def test_the_joint_bound_resumes_too(tmp_path: Path) -> None:
    seen: list[Row] = []

    def stop(row: Row) -> None:
        seen.append(row)
        if row.metric == "accuracy" and row.after_task == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nlbench.run("joint", "split-digits", seeds=2, results=tmp_path / "a", listen=stop)
    resumed = nlbench.run("joint", "split-digits", seeds=2, results=tmp_path / "a")
    whole = nlbench.run("joint", "split-digits", seeds=2, results=tmp_path / "b")
    assert rows_by_seed(resumed.record) == rows_by_seed(whole.record)


def test_no_row_is_encoded_at_more_than_one_boundary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, encoded = execution.text, []
    monkeypatch.setattr(execution, "text", lambda rows: encoded.extend(rows) or encode(rows))
    checkpoint = interrupted(tmp_path)
    assert encoded == checkpoint.load()[0]
    assert len(encoded) > 100


def test_force_starts_anew_instead_of_resuming(tmp_path: Path) -> None:
    checkpoint = interrupted(tmp_path)
    first: list[Row] = []
    nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path, force=True, listen=first.append)
    whole = nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path / "b")
    assert rows_by_seed(whole.record) == rows_by_seed(nlbench.load(tmp_path)[0])
    assert not checkpoint.path.exists()


@pytest.mark.parametrize("damage", ["empty", "junk", "cut", "foreign"])
def test_a_damaged_checkpoint_is_one_line_with_the_ways_out(damage: str, tmp_path: Path) -> None:
    path = interrupted(tmp_path).path
    content = path.read_bytes()
    if damage == "foreign":
        save_file({"x": torch.zeros(1)}, path)
    else:
        path.write_bytes({"empty": b"", "junk": b"not safetensors", "cut": content[: len(content) // 2]}[damage])
    with pytest.raises(RecordError) as caught:
        nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path)
    assert str(caught.value).startswith(f"{path}: the checkpoint cannot be read")
    assert "--force" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path, force=True).seeds_run == (0, 1)


def test_a_half_written_checkpoint_beside_the_last_whole_one_is_ignored(tmp_path: Path) -> None:
    checkpoint = interrupted(tmp_path)
    checkpoint.path.with_suffix(".part").write_bytes(b"half")
    assert nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path).seeds_run == (0, 1)


def test_a_full_disk_is_one_line_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(RecordError, match=r"the checkpoint cannot be written: .*No space left on device.*--results"):
        nlbench.run("mlp", "split-digits", seeds=1, results=tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_results_that_cannot_be_written_are_one_line_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(execution, "prepare", lambda *args: pytest.fail("worked"))
    with pytest.raises(
        RecordError, match=r"file/results: results cannot be written: Not a directory\. Name another folder with --results\."
    ):
        nlbench.run("mlp", "split-digits", seeds=1, results=tmp_path / "file" / "results")
