"""What a killed or interrupted run leaves is enough to end as if it had not been; what is damaged says so."""

from __future__ import annotations

import re
import threading
import tracemalloc
import weakref
from contextlib import nullcontext
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_streams import rows_by_seed

import nlbench
from nlbench import runner, state
from nlbench.errors import RecordError
from nlbench.plan import Machine
from nlbench.protocol import Meeting, Position, Progress
from nlbench.records import Row
from nlbench.runner import Checkpoint, keeping
from nlbench.runner import checkpoint as checkpoints
from nlbench.runner.checkpoint import FORMAT, Saved


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


@pytest.mark.parametrize("task", [2, 3, 5])
def test_an_interrupted_run_goes_on_from_its_last_boundary(task: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path / "a", task)
    resumed, real = [], Meeting.resume
    monkeypatch.setattr(Meeting, "resume", lambda self, progress: resumed.append(progress.position) or real(self, progress))
    listened: list[Row] = []
    finished = nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path / "a", listen=listened.append)
    assert resumed == [Position(task)]
    whole = nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path / "b")
    assert rows_by_seed(finished.record) == rows_by_seed(whole.record)
    assert [row.after_task for row in listened if row.metric == "seconds.evaluate"] == [0, 1, 2, 3, 4, 5]
    assert [path.name for path in (tmp_path / "a").rglob("*") if path.is_file()] == [finished.path.name]


def test_a_resume_leaves_its_trace_in_the_record(tmp_path: Path) -> None:
    for task in (3, 4):
        interrupted(tmp_path, task)
    (execution,) = nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path).record.footer.runs
    assert [(each.task, each.passes, each.batches) for each in execution.resumes] == [(3, 0, 0), (4, 0, 0)]
    assert execution.not_kept is None
    whole = nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path / "b").record.footer
    assert whole.resumes == []


def test_a_resumed_run_goes_on_with_the_threads_it_began_with(tmp_path: Path) -> None:
    checkpoint = interrupted(tmp_path)
    saved = checkpoint.load()
    assert saved is not None
    checkpoint.save(saved._replace(threads=3))
    assert nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path).record.footer.runs[0].threads == 3


@pytest.mark.parametrize("model", ["joint-one-pass", "accumulated"])
def test_what_learns_all_tasks_so_far_together_resumes_too(model: str, tmp_path: Path) -> None:
    seen: list[Row] = []

    def stop(row: Row) -> None:
        seen.append(row)
        if row.metric == "accuracy" and row.after_task == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nlbench.run(model, "split-digits", seeds=2, results=tmp_path / "a", listen=stop)
    resumed = nlbench.run(model, "split-digits", seeds=2, results=tmp_path / "a")
    whole = nlbench.run(model, "split-digits", seeds=2, results=tmp_path / "b")
    assert rows_by_seed(resumed.record) == rows_by_seed(whole.record)


def test_no_row_is_encoded_at_more_than_one_boundary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, encoded = keeping.text, []
    monkeypatch.setattr(keeping, "text", lambda rows: encoded.extend(rows) or encode(rows))
    saved = interrupted(tmp_path).load()
    assert saved is not None
    assert encoded == saved.rows
    assert len(encoded) > 100


def test_force_starts_anew_instead_of_resuming(tmp_path: Path) -> None:
    checkpoint = interrupted(tmp_path)
    first: list[Row] = []
    nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path, force=True, listen=first.append)
    whole = nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path / "b")
    assert rows_by_seed(whole.record) == rows_by_seed(nlbench.load(tmp_path)[0])
    assert not checkpoint.path.exists()


@pytest.mark.parametrize(
    ("what", "value", "line"),
    [
        ("position", (3, 1, 0), ""),
        ("position", (7, 0, 0), "it stood where this run does not: (7, 0, 0)"),
        ("position", (3, 0, 99), "it stood where this run does not: (3, 0, 99)"),
        ("position", (3, 2, 0), "it stood where this run does not: (3, 2, 0)"),
        ("held", {"right": torch.zeros(3, dtype=torch.int64)}, "it stood where this run does not: (3, 0, 0)"),
        ("held", {}, "it stood where this run does not: (3, 0, 0)"),
        ("seconds", -1.0, "seconds: Input should be greater than or equal to 0"),
        ("mixes", "yes", "mixes: Input should be a valid boolean"),
    ],
)
def test_what_a_forged_checkpoint_says_is_checked_before_it_is_used(what: str, value: Any, line: str, tmp_path: Path) -> None:
    checkpoint = interrupted(tmp_path)
    saved = checkpoint.load()
    assert saved is not None
    value = Position(*value) if what == "position" else value
    checkpoint.save(saved._replace(progress=saved.progress._replace(**{what: value})))
    with pytest.raises(RecordError, match=re.escape(line)) if line else nullcontext():
        nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path)


def test_damage_of_every_kind_is_one_line_with_the_ways_out(tmp_path: Path) -> None:
    """Cut anywhere, any bit flipped, the end zeroed, a tensor missing, another run's file in its place."""
    checkpoint = interrupted(tmp_path)
    path, content, saved = checkpoint.path, checkpoint.path.read_bytes(), checkpoint.load()
    assert saved is not None
    replace(checkpoint, run="another").save(saved)
    other = path.read_bytes()
    short = dict(list(saved.state.items())[1:])
    (tmp_path / "short").mkdir()
    replace(checkpoint, path=tmp_path / "short" / "x").save(saved._replace(state=short))
    damaged = {
        "empty": b"",
        "junk": b"not a checkpoint",
        "no tensors": FORMAT + sha256(b"").digest(),
        "other format": content.replace(b"checkpoint 2", b"checkpoint 1", 1),
        "another run's": other,
        "longer": content + b"\0",
        "zeros": content[:-4096] + bytes(4096),
        **{f"cut at {n}": content[:n] for n in (3, 30, len(content) // 2, len(content) - 1)},
    }
    rng = np.random.Generator(np.random.Philox(3))
    for bit in rng.integers(0, 8 * len(content), 200):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged[f"bit {bit}"] = bytes(flipped)
    for how, now in damaged.items():
        path.write_bytes(now)
        with pytest.raises(RecordError) as caught:
            checkpoint.load()
        assert str(caught.value).startswith(f"{path}: the checkpoint "), how
        assert str(caught.value).endswith("Delete it, or start anew with --force."), how
        assert "\n" not in str(caught.value), how
    path.write_bytes((tmp_path / "short" / "x").read_bytes())
    with pytest.raises(RecordError, match=r"does not fit the learner: .*--force"):
        nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path)
    assert nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path, force=True).seeds_run == (0, 1)


def test_a_file_that_is_replaced_while_it_is_read_is_one_or_the_other(tmp_path: Path) -> None:
    checkpoint = interrupted(tmp_path)
    saved = checkpoint.load()
    assert saved is not None
    states = [{name: torch.full_like(value, n) for name, value in saved.state.items()} for n in (0, 1)]
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for each in states:
                checkpoint.save(saved._replace(state=each))

    writer = threading.Thread(target=write)
    checkpoint.save(saved._replace(state=states[0]))
    writer.start()
    try:
        for _ in range(60):
            read = checkpoint.load()
            assert read is not None
            assert len({float(value.double().mean()) for value in read.state.values()}) == 1
    finally:
        stop.set()
        writer.join()


TENSOR = torch.randn(2, 2)
TENSORS = {
    "complex128": torch.randn(3, 2, dtype=torch.complex128),
    "conjugated": torch.randn(3, dtype=torch.complex64).conj(),
    "bool": torch.tensor([True, False]),
    "bfloat16": torch.randn(5).bfloat16(),
    "float8": torch.randn(4).to(torch.float8_e4m3fn),
    "scalar": torch.tensor(-0.0),
    "empty": torch.zeros(0, 3, dtype=torch.float64),
    "empty of NumPy's": torch.from_numpy(np.array([])),
    "turned": torch.randn(3, 4, 5).permute(2, 0, 1),
    "expanded": torch.randn(3, 1).expand(3, 4),
    "sliced": torch.randn(6, 6)[1::2, ::3],
    "the same": TENSOR,
    "the same again": TENSOR,
    "not a number": torch.tensor([float("nan"), float("inf"), 5e-324]).double(),
}


def test_tensors_of_every_kind_come_back_to_the_bit_and_in_their_layout(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "x", "run")
    progress = Progress(Position(2, 1, 3), 0.1 + 0.2, True, {"right": torch.tensor([3])})
    rows = [Row(None, None, 1, None, "chance", 0.1 + 0.2), Row(2**62, 1, None, 7, 'a "name"', None, 3)]
    checkpoint.save(Saved("cpu", "numba", 1, progress, [], rows, TENSORS))
    found = checkpoint.load()
    assert found is not None
    assert (found.device, found.backend) == ("cpu", "numba")
    assert found.progress[:3] == progress[:3]
    assert found.rows == rows
    assert found.progress.held["right"].tolist() == [3]
    assert list(found.state) == list(TENSORS)
    for name, value in TENSORS.items():
        assert state.same(value.resolve_conj(), found.state[name]), name
    assert found.state["turned"].stride() == TENSORS["turned"].stride()


@pytest.mark.parametrize(("what", "other"), [("device", "cuda"), ("backend", "triton")])
def test_a_checkpoint_from_another_kind_of_place_is_refused(what: str, other: str, tmp_path: Path) -> None:
    checkpoint = interrupted(tmp_path)
    saved = checkpoint.load()
    assert saved is not None
    checkpoint.save(saved._replace(**{what: other}))
    with pytest.raises(RecordError, match=rf"with {what} {other}, this one has .*Resume it with --{what} {other}, or .*--force"):
        nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path)


def test_a_half_written_checkpoint_beside_the_last_whole_one_is_ignored(tmp_path: Path) -> None:
    checkpoint = interrupted(tmp_path)
    checkpoint.path.with_name(f".{checkpoint.path.name}.1.tmp").write_bytes(b"half")
    assert nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path).seeds_run == (0, 1)


def test_on_a_full_disk_the_run_goes_on_says_so_once_and_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, *parts: bytes) -> None:
        raise RecordError(f"cannot write {path}: No space left on device.", "Choose another folder with --results.")

    monkeypatch.setattr(checkpoints, "replace_file", full)
    told: list[str] = []
    plan = nlbench.resolve("mlp", "split-digits", seeds=1)
    done = nlbench.api.carry_out(plan, tmp_path, Machine(device="cpu"), tell=told.append)
    (remark,) = told
    assert remark.endswith("No space left on device. Choose another folder with --results. The run goes on and tries again.")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [done.path]


def test_results_that_cannot_be_written_are_one_line_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(runner, "execute", lambda *args, **options: pytest.fail("worked"))
    with pytest.raises(
        RecordError, match=r"file/results: results cannot be written: Not a directory\. Name another folder with --results\."
    ):
        nlbench.run("mlp", "split-digits", seeds=1, results=tmp_path / "file" / "results")


def test_a_checkpoint_takes_no_second_copy_of_what_the_learner_holds(tmp_path: Path) -> None:
    """Neither where it is written nor where it is read: bytes beside the tensors are few, and these are read one by one."""
    state = {"weights": torch.zeros(2_000_000), "bias": torch.ones(3)}
    checkpoint = Checkpoint(tmp_path / "x", "run")
    tracemalloc.start()
    checkpoint.save(Saved("cpu", "reference", 1, Progress(Position(1), 0.0, False, {}), [], [], state))
    with checkpoint.opened() as saved:
        assert saved is not None
        first, second = (weakref.ref(saved.state["weights"]) for _ in range(2))
        assert first() is second() is None
        assert {name: value.sum().item() for name, value in saved.state.items()} == {"weights": 0.0, "bias": 3.0}
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < state["weights"].nbytes / 4
