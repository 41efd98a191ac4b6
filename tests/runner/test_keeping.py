"""An interrupted run ends as if it had not been interrupted, whatever its learner holds; where it could not, it says so."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from quick_cases import quick_if
from small_streams import rows_by_seed, small_stream

import nlbench
from nlbench import closure
from nlbench.errors import InterruptedRunError, Remark
from nlbench.plan import Machine
from nlbench.protocol import Position
from nlbench.runner import Checkpoint, keeping
from nlbench.runner.keeping import place
from nlbench.stopping import SIGNALS

LEARNERS = Path(__file__).parent / "kept" / "learners.py"
KEPT = ("Pairs", "Means", "Buffered", "Scheduled", "Growing", "Reservoir", "Odd")
STREAM = small_stream(evaluate_every=16, passes=2, boundaries=True)  # three tasks of two passes of five batches


def run(name: str, results: Path, told: list[str] | None = None, **machine: float) -> nlbench.Run:
    plan = nlbench.resolve(f"{LEARNERS}:{name}", STREAM, seeds=2)
    return nlbench.api.carry_out(plan, results, Machine(device="cpu", **machine), tell=(told if told is not None else []).append)


@pytest.fixture
def heeded() -> Iterator[None]:
    """Signals as in the foreground: a shell has what it starts in the background ignore some."""
    plain = {signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, plain.get(number, signal.SIG_DFL)) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("name", [quick_if(name in ("Buffered", "Scheduled", "Growing", "Odd"), name) for name in KEPT])
def test_stopped_within_and_between_tasks_is_as_if_never_stopped(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(name, tmp_path / "whole")
    stops = {
        "3 SIGTERM": (143, "in task 1 after 3 batches"),
        "10 SIGHUP end": (129, "after task 1"),
        "17 SIGINT": (130, "in task 2 after 1 pass and 2 batches"),
    }
    for stop, (code, where) in stops.items():
        monkeypatch.setenv("NLBENCH_STOP", stop)
        with pytest.raises(InterruptedRunError) as caught:
            run(name, tmp_path / "stopped")
        assert caught.value.exit_code == code
        assert str(caught.value) == f"interrupted {where}. It is kept; the same command resumes it."
    done = run(name, tmp_path / "stopped", told := [])
    assert told == ["going on in task 2 after 1 pass and 2 batches"]
    assert rows_by_seed(done.record) == rows_by_seed(whole.record)
    assert [(each.task, each.passes, each.batches) for each in done.record.footer.resumes] == [(1, 0, 3), (2, 0, 0), (2, 1, 2)]


@pytest.mark.usefixtures("heeded")
def test_what_a_learner_holds_of_a_module_that_it_imports_late_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a new process nobody has imported that module when the checkpoint is read."""
    monkeypatch.setenv("NLBENCH_STOP", "10 SIGTERM")
    with pytest.raises(InterruptedRunError, match="It is kept"):
        run("Importing", tmp_path / "stopped")
    closure.forget()
    assert "late" not in sys.modules
    done = run("Importing", tmp_path / "stopped")
    monkeypatch.delenv("NLBENCH_STOP")
    assert rows_by_seed(done.record) == rows_by_seed(run("Importing", tmp_path / "whole").record)


def test_it_is_saved_at_boundaries_and_every_so_many_seconds_within_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock of its own: a second a look."""
    clock = iter(range(10**6))
    monkeypatch.setattr(keeping, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(keeping, "LONGEST_SHARE", 0)
    places, save = [], keeping.Kept.save

    def noting(kept: keeping.Kept) -> bool:
        places.append(kept._meeting.position)
        return save(kept)

    monkeypatch.setattr(keeping.Kept, "save", noting)
    run("Pairs", tmp_path / "a", checkpoint_every=4)
    within = [each for each in places if each != Position(each.task)]
    assert [each for each in places if each not in within] == [Position(2), Position(3)]
    assert len(within) > 5
    places.clear()
    run("Pairs", tmp_path / "b", checkpoint_every=0)
    assert places == [Position(2), Position(3)]


def test_saving_takes_a_small_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock takes a second, so that a save takes one; 20 pass before the next within a task."""
    clock = iter(range(10**6))
    monkeypatch.setattr(keeping, "monotonic", lambda: float(next(clock)))
    saved, save = [], keeping.Kept.save
    monkeypatch.setattr(keeping.Kept, "save", lambda kept: saved.append(kept._meeting.position) or save(kept))
    run("Pairs", tmp_path, checkpoint_every=1)
    assert len(saved) < 33 / 4


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Writing", "the learner holds what cannot be saved: log: a _io.TextIOWrapper; "),
        ("Late", "the learner holds what cannot be saved: rest: a builtins.list_iterator"),
        ("Forgetful", "a learner made from its checkpoint differs in samples"),
    ],
)
def test_what_cannot_be_kept_is_told_once_recorded_and_no_checkpoint_is_kept(
    name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(name, tmp_path, told := [], checkpoint_every=1e-9)
    (remark,) = told
    assert remark.startswith(why)
    assert remark.endswith("The run goes on and keeps no checkpoint: if it is interrupted, it starts anew.")
    assert done.record.footer.not_kept is not None
    assert done.record.footer.not_kept.startswith(why)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [done.path]
    monkeypatch.setenv("NLBENCH_STOP", "25 SIGTERM")
    with pytest.raises(InterruptedRunError, match=r"interrupted in task 3 .*\. It starts anew: ") as caught:
        run(name, tmp_path / "stopped")
    assert caught.value.exit_code == 143
    assert [path for path in (tmp_path / "stopped").rglob("*") if path.is_file()] == []


def test_what_cannot_be_saved_is_told_before_the_first_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLBENCH_STOP", "1 SIGTERM")
    told: list[str] = []
    with pytest.raises(InterruptedRunError):
        run("Writing", tmp_path, told, checkpoint_every=0)
    assert told[0].startswith("the learner holds what cannot be saved: log")


LOCK = threading.Lock()


class Locked(nlbench.Learner):
    """Holds what no other process could tell from its like."""

    single_seed = True
    needs = ()

    def __init__(self, config: object, problem: nlbench.Problem) -> None:
        self.classes, self.count = problem.n_classes, 0

    def observe(self, batch: nlbench.Batch) -> torch.Tensor:
        with LOCK:
            self.count += 1
        if self.count == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return torch.zeros(())

    def predict(self, inputs: torch.Tensor, task: int | None) -> torch.Tensor:
        return torch.zeros(len(inputs), self.classes)


@pytest.mark.usefixtures("heeded")
def test_a_run_of_code_that_is_not_identified_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    with (
        pytest.warns(Remark, match="the same call will run anew, and this run, if it is killed, is not resumed"),
        pytest.raises(
            InterruptedRunError, match=r"interrupted in task 1 .*\. It starts anew: .*:Locked holds a lock, which says"
        ),
    ):
        nlbench.run(Locked, STREAM, seeds=1, results=tmp_path, checkpoint_every=1e-9)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_run_that_was_interrupted_leaves_its_checkpoint_and_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLBENCH_STOP", "4 SIGTERM")
    with pytest.raises(InterruptedRunError):
        run("Pairs", tmp_path)
    plan = nlbench.resolve(f"{LEARNERS}:Pairs", STREAM, seeds=2)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [Checkpoint.of(plan, tmp_path).path]


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (Position(0), "before the first task"),
        (Position(1), "before the first task"),
        (Position(3), "after task 2"),
        (Position(3, 0, 1), "in task 3 after 1 batch"),
        (Position(3, 2, 0), "in task 3 after 2 passes"),
        (Position(3, 1, 20), "in task 3 after 1 pass and 20 batches"),
    ],
)
def test_where_a_run_stands_in_words(position: Position, text: str) -> None:
    assert place(position) == text


def test_a_run_that_ends_within_the_gap_keeps_no_checkpoint_and_an_interrupted_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved, save = [], keeping.Kept.save
    monkeypatch.setattr(keeping.Kept, "save", lambda kept: saved.append(kept._meeting.position) or save(kept))
    run("Pairs", tmp_path / "a", checkpoint_gap=3600.0)
    assert saved == []
    monkeypatch.setenv("NLBENCH_STOP", "4 SIGTERM")
    with pytest.raises(InterruptedRunError, match="It is kept"):
        run("Pairs", tmp_path / "b", checkpoint_gap=3600.0)
    assert len(saved) == 1
