"""A learner made from a checkpoint is compared bit by bit, and by what it predicts."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from small_streams import mlp, rows_of, running, small_stream

import nlbench
from nlbench.batch import Learner
from nlbench.runner import keeping
from nlbench.runner.proving import difference, let_go
from nlbench.state import UnlikeError, collect


def test_equal_and_different_learners() -> None:
    stream = running(small_stream(), [0, 1])
    learner = mlp(stream, momentum=0.9)
    rows_of(learner, stream)
    saved = {name: value.clone() for name, value in learner.state_dict().items()}
    assert difference(learner, mlp(stream, momentum=0.9), saved, stream) is None
    saved["biases[1]"][0, 0] += 1e-7
    assert difference(learner, mlp(stream, momentum=0.9), saved, stream) == "biases[1]"
    del saved["biases[1]"]
    with pytest.raises(UnlikeError, match=r"biases\[1\]"):
        difference(learner, mlp(stream, momentum=0.9), saved, stream)


class Tied:
    """What holds itself, as a learner does that keeps a method of its own."""

    def __init__(self) -> None:
        self.itself = self


def test_what_was_made_for_a_proof_is_let_go_at_once_though_it_holds_itself() -> None:
    gc.disable()
    try:
        with let_go():
            made, kept = weakref.ref(Tied()), Tied()
            assert made() is not None
        assert made() is None
        assert kept.itself is kept
        assert gc.get_freeze_count() == 0
    finally:
        gc.enable()


GIVEN_BACK = """
import os
from pathlib import Path

import torch

from nlbench.runner.proving import let_go

def held() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def freed() -> int:
    for _ in range(2):
        made = torch.ones(5_000_000)
        del made
    return held()

before = freed()
with let_go():
    assert held() < before - 15_000_000
    before = freed()
assert held() < before - 15_000_000
"""
"""Of two large tensors the first raises what the C library keeps, the second is kept: in a process whose memory is its own."""


@pytest.mark.skipif(sys.platform != "linux", reason="the C library of Linux keeps what was freed")
def test_what_was_freed_is_given_back_before_a_proof_and_after() -> None:
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_run_is_left_with_one_learner_when_its_checkpoints_are_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh: list[weakref.ref[Learner]] = []

    def noted(learner: Learner, made: Learner, *others: Any) -> str | None:
        assert all(each() is None for each in fresh)
        fresh.append(weakref.ref(made))
        return difference(learner, made, *others)

    monkeypatch.setattr(keeping, "difference", noted)
    monkeypatch.setattr(keeping, "LONGEST_SHARE", 0)
    gc.disable()
    try:
        nlbench.run("random-features", "split-digits", seeds=1, results=tmp_path, device="cpu", checkpoint_every=1e-9)
    finally:
        gc.enable()
    assert len(fresh) == 2
    assert all(each() is None for each in fresh)


def test_what_the_state_does_not_show_shows_in_predictions() -> None:
    stream = running(small_stream(), [0])
    learner, fresh = mlp(stream), mlp(stream)
    saved = {name: value.clone() for name, value in learner.state_dict().items()}
    predict = fresh.predict
    type(fresh).made_anew = (*type(fresh).made_anew, "predict")
    try:
        fresh.predict = lambda inputs, task: torch.nextafter(predict(inputs, task), torch.tensor(9.0))  # type: ignore[method-assign]
        assert "predict" not in str(list(collect(fresh)))
        assert difference(learner, fresh, saved, stream) == "its predictions"
    finally:
        type(fresh).made_anew = type(fresh).made_anew[:-1]
