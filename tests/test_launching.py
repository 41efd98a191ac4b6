"""A plan is completed: what is recorded is not run again, and who runs what is missing imports torch once and cheaply."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_streams import small_stream

import nlbench
from nlbench.errors import NlbenchError, RecordError
from nlbench.launching import complete, missing_seeds
from nlbench.plan import Machine


def test_only_the_seeds_that_a_record_lacks_are_run(tmp_path: Path) -> None:
    plan = nlbench.resolve("mlp", small_stream(), seeds=3)
    first = replace(plan, seeds=(1,))
    assert complete(first, tmp_path, Machine(device="cpu"), tell=print).added == (1,)
    assert missing_seeds(plan, tmp_path) == (0, 2)
    assert missing_seeds(plan, tmp_path, force=True) == (0, 1, 2)
    heard: list[int | None] = []
    done = complete(plan, tmp_path, Machine(device="cpu"), listen=lambda row: heard.append(row.seed), tell=print)
    assert done == ((0, 2), ())
    assert set(heard) == {None, 0, 2}
    assert complete(plan, tmp_path, Machine(device="cpu"), tell=print) == ((), ())


def test_a_learner_that_cannot_be_saved_where_it_should_be_is_told_before_any_training(tmp_path: Path) -> None:
    plan, heard = nlbench.resolve("mlp", small_stream(), seeds=1), []
    place = tmp_path / "saved"
    place.touch()
    with pytest.raises(NlbenchError, match=r"saved: is no folder to save the learner in\. Name a folder"):
        complete(plan, tmp_path, Machine(device="cpu", save=place), listen=heard.append, tell=print)
    assert not heard


def test_what_lies_where_the_record_belongs_and_is_none_of_this_run_is_told_before_any_training(tmp_path: Path) -> None:
    plan, heard = nlbench.resolve("mlp", small_stream(), seeds=1), []
    place = plan.record_path(tmp_path)

    def run(**options: bool) -> object:
        return complete(plan, tmp_path, Machine(device="cpu"), listen=heard.append, tell=print, **options)

    other = nlbench.resolve("chance", small_stream(), seeds=1)
    complete(other, tmp_path / "other", Machine(device="cpu"), tell=print)
    shutil.copy(other.record_path(tmp_path / "other"), place)
    with pytest.raises(
        RecordError, match=r"is the record of another run: chance on small, .*Move it away, or replace it with --force"
    ):
        run()
    (tmp_path / "linked").mkdir()
    plan.record_path(tmp_path / "linked").symlink_to("nowhere")
    with pytest.raises(RecordError, match="is no file"):
        missing_seeds(plan, tmp_path / "linked")
    assert not heard
    run(force=True)
    assert (nlbench.load(place)[0].model, bool(heard)) == ("mlp", True)


def test_a_learner_that_goes_elsewhere_takes_neither_run_nor_output_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Goes(nlbench.Learner):
        def __init__(self, config, problem):
            self.shape = len(problem.seeds), problem.n_classes

        def observe(self, batch):
            import os

            os.chdir("elsewhere") if os.path.isdir("elsewhere") else None
            sys.stdout = None
            return torch.zeros(self.shape[0])

        def predict(self, inputs, task):
            return torch.zeros(self.shape[0], inputs.shape[1], self.shape[1])

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    before = sys.stdout
    done = nlbench.run(Goes, small_stream(), seeds=1, results="results", device="cpu")
    assert Path.cwd() == tmp_path
    assert sys.stdout is before
    assert done.path.parent == Path("results")
    assert not list((tmp_path / "elsewhere").iterdir())
    assert [path.name for path in (tmp_path / "results" / ".checkpoints").iterdir()] == []


def test_modules_are_not_looked_through_for_garbage() -> None:
    ask = "print(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    code = f"import gc\nfrom nlbench.launching import running_half\nrunning_half()\n{ask}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "True"]
