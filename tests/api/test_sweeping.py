"""The Python face of sweeps: options become a grid, a budget and an engine; plans become outcomes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from diverging import FAILING
from small_streams import small_stream

import nlbench
from nlbench import api
from nlbench.api import sweeping
from nlbench.errors import NlbenchError, SpecError, UnknownNameError
from nlbench.sweep import Budget, Cell, Here, Outcome
from nlbench.sweep.local import Local

TABLE = {"models": ["mlp"], "streams": ["split-digits"], "budget": {"minutes": 2.0, "cells": 5}}


def test_plans_become_outcomes_in_worker_processes(tmp_path: Path) -> None:
    """A stream of arrays, which is no file that a worker could read, goes with its plan."""
    plans = [nlbench.resolve("mlp", small_stream(), seeds=2, overrides={"learner.rate": rate}) for rate in ("0.1", "1e30")]
    engine = api.engine("local", workers=1, device="cpu")
    states = {one.plan.fingerprint: one.state for one in api.sweep(plans, tmp_path, engine=engine, device="cpu")}
    assert states == {plans[0].fingerprint: "run", plans[1].fingerprint: "diverged"}
    alone = nlbench.run("mlp", small_stream(), seeds=2, results=tmp_path / "alone", overrides={"learner.rate": "0.1"}, threads=1)
    made = nlbench.load(tmp_path)[0]
    assert (made.accuracies == alone.record.accuracies).all()
    assert made.footer.threads == engine.threads
    assert [one.state for one in api.sweep(plans[:1], tmp_path, engine="here", device="cpu")] == ["recorded"]


def test_a_class_of_this_session_runs_here(tmp_path: Path) -> None:
    class Constant(nlbench.Learner):
        def __init__(self, config: object, problem: nlbench.Problem) -> None:
            self.problem = problem

        def observe(self, batch: nlbench.Batch):  # type: ignore[no-untyped-def]
            return batch.inputs.new_zeros(len(self.problem.seeds))

        def predict(self, inputs, task):  # type: ignore[no-untyped-def]
            return inputs.new_ones(len(self.problem.seeds), inputs.shape[1], self.problem.n_classes)

    plan = nlbench.resolve(Constant, small_stream(), seeds=1)
    assert [one.state for one in api.sweep([plan], tmp_path, engine="here", device="cpu")] == ["run"]


def test_options_add_to_a_file_and_have_the_last_word(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text('models = ["er"]\nstreams = ["split-digits"]\nseeds = 3\nset.batch = 8\nset.protocol.passes = 2\n')
    found = sweeping.grid_of(file, "mlp, er", None, "2,5", {"batch": "8,16", "learner.hidden": "[64]"}, None)
    assert (found.models, found.streams, found.seeds) == (["mlp", "er"], ["split-digits"], [2, 5])
    assert found.set == {"batch": [8, 16], "protocol.passes": 2, "learner.hidden": [[64]]}
    alone = sweeping.grid_of(None, "mlp", "split-digits", None, {"learner.rate": "0.1"}, "bf16")
    assert (alone.seeds, alone.precision, alone.set) == (list(range(10)), "bf16", {"learner.rate": 0.1})
    assert sweeping.grid_of(file, None, None, None, {}, "bf16").precision == "bf16"
    file.write_text(f'{file.read_text()}\nprecision = "bf16"\n')
    assert sweeping.grid_of(file, None, None, None, {}, None).precision == "bf16"
    assert len(sweeping.distinct(sweeping.grid_of(None, "mlp,mlp", "split-digits", "1", {"batch": "8,8"}, None))) == 1
    file.write_text('models = ["mlp", "er"]\nstreams = ["split-digits"]\non.mlp.batch = [8, 16]\non.er.batch = [32, 64]\n')
    assert sweeping.grid_of(file, "mlp", None, "1", {}, None).on == {"mlp": {"batch": [8, 16]}}
    network = {"learner.network": '{kind="mlp", hidden=[8]}'}
    (point,) = sweeping.distinct(sweeping.grid_of(None, "er", "split-digits", "1", network, None))
    assert point.plan.fingerprint == nlbench.resolve("er", "split-digits", seeds=1, overrides=network).fingerprint
    file.write_text(
        'models = ["er"]\nstreams = ["split-digits"]\n[on.er]\nbatch = [8, 16]\nlearner.optimizer.rate = [0.1, 0.2]\n'
    )
    deciding = {"batch": "32", "learner.optimizer": "{kind='sgd', rate=0.3}"}
    (point,) = sweeping.grid_of(file, None, None, "1", deciding, None).points()
    assert (point.plan.batch, point.plan.learner.learner.optimizer.rate) == (32, 0.3)
    other = sweeping.grid_of(file, None, None, "1", {"learner.optimizer.rat": "1"}, None)
    assert other.on == {"er": {"batch": [8, 16], "learner.optimizer.rate": [0.1, 0.2]}}
    file.write_text('models = ["er"]\nstreams = ["split-digits"]\nset = 3\n')
    with pytest.raises(SpecError, match=r"grid\.toml: set: must be a valid dictionary, got 3"):
        sweeping.grid_of(file, None, None, None, {"batch": "8"}, None)
    with pytest.raises(NlbenchError, match="a sweep needs models and streams"):
        sweeping.grid_of(None, "mlp", None, None, {}, None)


def test_budgets_are_times_or_numbers() -> None:
    declared = api.grid(TABLE)
    assert sweeping.budget_of([], declared.budget) == Budget(120.0, 5)
    assert sweeping.budget_of(["1.5h", "7"], declared.budget) == Budget(5400.0, 7)
    for wrong in ("0", "m", "-3m", "5d"):
        with pytest.raises(NlbenchError, match=rf"budget {wrong}: must be a time or a number of cells"):
            sweeping.budget_of([wrong], declared.budget)


def test_engines_have_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(api.engine("here"), Here)
    local = api.engine("local", workers=3, threads=2, device="cpu")
    assert isinstance(local, Local)
    assert (local.slots, local.threads) == (3, 2)
    with pytest.raises(UnknownNameError, match="unknown engine 'rya'"):
        api.engine("rya")
    with pytest.raises(NlbenchError, match="only the engine ray has one"):
        api.engine("local", address="auto")
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(NlbenchError, match=r'needs the extra `ray`\. .* "nlbench\[ray\]"'):
        api.engine("ray")


def test_costs_are_judged_by_one_cell_of_each_model_and_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = sweeping.distinct(api.grid({"models": ["mlp"], "streams": ["split-digits"], "seeds": 2, "set": {"batch": [8, 16]}}))
    cells = sweeping.standing(points, tmp_path)
    asked: list[object] = []

    def estimate(plan: object, machine: object) -> SimpleNamespace:
        asked.append(plan)
        return SimpleNamespace(seconds=3.0, bytes_per_seed={"a": 5})

    monkeypatch.setattr(sweeping, "estimate", estimate)
    assert sweeping.costs(cells, 2, api.options()) == (3.0, 10, 2, {})
    assert len(asked) == 1
    assert sweeping.costs([(points[0], Cell(points[0].plan, (), {}))], 2, api.options()) is None


def test_a_cell_that_cannot_be_estimated_is_told_and_the_others_are_estimated(tmp_path: Path) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    failing = f"{tmp_path / 'failing.py'}:Failing"
    points = sweeping.distinct(api.grid({"models": [failing, "mlp"], "streams": ["split-digits"], "seeds": 1}))
    found = sweeping.costs(sweeping.standing(points, tmp_path), 1, api.options(device="cpu"))
    assert found is not None
    assert found.seconds > 0
    assert list(found.unknown) == ["Failing on split-digits"]
    assert "no such width" in found.unknown["Failing on split-digits"]


def test_what_has_no_record_and_should_is_unfinished() -> None:
    plan = nlbench.resolve("mlp", "split-digits", seeds=1)
    for state, mask, stop in (("run", False, False), ("left", False, False), ("diverged", False, True), ("failed", True, True)):
        outcomes = [Outcome(plan, state)]  # type: ignore[arg-type]
        assert sweeping.unfinished(outcomes, "mask") is mask
        assert sweeping.unfinished(outcomes, "stop") is stop
