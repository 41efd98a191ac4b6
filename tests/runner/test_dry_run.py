"""A dry run times what a run does, counts what it will do, and records nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from quick_cases import recipes, sampled
from small_streams import Spy, problem_of, rows_of, running, small_stream, small_tasks, smaller
from torch import Tensor

import nlbench
from nlbench import Batch, Batches, Learner
from nlbench.learners import mlp
from nlbench.learners.mlp import Mlp
from nlbench.plan import Machine
from nlbench.runner import dry_run, estimate, execution, prepare
from nlbench.streams.stream import Stream

CPU = Machine(device="cpu")


@pytest.mark.parametrize("recipe", recipes(sampled()))
def test_an_estimate_counts_steps_updates_and_bytes_exactly(recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = {"protocol.passes": "2", "protocol.evaluate": "final", **smaller(recipe, "split-digits")}
    plan = nlbench.resolve(recipe, "split-digits", seeds=2, overrides=overrides)
    monkeypatch.setattr(dry_run, "SECONDS", 1e9)  # what some keep depends on what they met, and a slow machine meets less
    cost = estimate(plan, CPU)
    observed = []
    real = execution.prepare

    def counting(*args: Any) -> Any:
        stream, learner = real(*args)
        kind, observe, many = type(learner), type(learner).observe, type(learner).observe_batches

        def several(self: Learner, batches: Batches) -> Tensor:
            observed.extend([1] * -(-batches.rows.shape[1] // batches.size))
            return many(self, batches)

        if learner.takes_batches:
            monkeypatch.setattr(kind, "observe_batches", several)
        else:
            monkeypatch.setattr(kind, "observe", lambda self, batch: observed.append(1) or observe(self, batch))
        return stream, learner

    monkeypatch.setattr(execution, "prepare", counting)
    record = nlbench.run(recipe, "split-digits", seeds=2, results=tmp_path, overrides=overrides).record
    assert cost.steps == len(observed)
    config = plan.learner.learner
    for kind, size in cost.bytes_per_seed.items():
        assert record.metric(f"bytes.{kind}")[0] == size, kind
    columns = record.to_pandas()
    counted = {
        name: value
        for name, task, value in columns[["metric", "after_task", "value"]].itertuples(index=False)
        if name.endswith(".updates") and task == 5
    }
    assert {f"level.{period}.updates": float(count) for period, count in cost.updates.items()} == counted
    levels = getattr(config, "periods", ()) or getattr(getattr(config, "network", None), "periods", ())
    assert len(counted) == len(levels or (getattr(config, "levels", ()) if config.kind == "projected" else ()))
    assert cost.seconds > 0


class Costly(Spy):
    """Advances a clock instead of taking time: so much a batch, and so much a sample that it predicts."""

    clock = 0.0

    def observe(self, batch: Batch) -> Tensor:
        Costly.clock += 0.25
        return torch.zeros(len(self.problem.seeds))

    def observe_batches(self, batches: Batches) -> Tensor:
        count = -(-batches.rows.shape[1] // batches.size)
        Costly.clock += 0.125 * count
        return torch.zeros(count, len(self.problem.seeds))

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        Costly.clock += 2**-10 * inputs.shape[1]
        return torch.zeros(len(self.problem.seeds), inputs.shape[1], self.problem.n_classes)


@pytest.mark.parametrize("evaluate", ["full", "seen", "final", "window:2"])
@pytest.mark.parametrize("terms", [{}, {"evaluate_every": 16}, {"evaluate_every": 40, "passes": 2}, {"prequential": True}])
@pytest.mark.parametrize("presents", ["sequential", "cumulative"])
@pytest.mark.parametrize("takes_batches", [False, True])
def test_an_estimate_is_exact_where_every_batch_and_sample_costs_the_same(
    evaluate: str, terms: dict[str, Any], presents: str, takes_batches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = small_stream(tasks=small_tasks(3, n_train=[160, 40, 80], n_test=[64, 24, 600]), evaluate=evaluate, **terms)
    plan = nlbench.resolve("chance", declared, seeds=2, overrides={"presents": presents})

    def made() -> tuple[Stream, Learner]:
        stream = running(declared, plan.seeds)
        learner = Costly({}, problem_of(stream))
        learner.takes_batches = takes_batches
        return stream, learner

    monkeypatch.setattr(dry_run, "prepare", lambda *args: made())
    monkeypatch.setattr(dry_run, "perf_counter", lambda: Costly.clock)
    monkeypatch.setattr(dry_run, "SECONDS", 1e9)
    seconds = estimate(plan, CPU).seconds
    stream, learner = made()
    before = Costly.clock
    rows_of(learner, stream, presents=presents)
    assert seconds == pytest.approx(Costly.clock - before, rel=1e-9)


class Watched(Mlp):
    """Notes what it is shown, and whether its first layer moved for it."""

    shown: ClassVar[list[tuple[Any, ...]]] = []

    def observe(self, batch: Batch) -> Tensor:
        self.shown.append(("batch", batch.inputs.clone(), batch.labels))
        return super().observe(batch)

    def observe_batches(self, batches: Batches) -> Tensor:
        self.shown.append(("batches", batches.rows, batches.labels))
        return super().observe_batches(batches)

    def permute_inputs(self, order: Tensor) -> None:
        self.shown.append(("moved", order))
        super().permute_inputs(order)


@pytest.mark.parametrize("stream", ["split-digits", "permuted-digits"])
@pytest.mark.parametrize(("backend", "kind"), [("numba", "batches"), ("reference", "batch")])
def test_an_estimate_times_the_very_feed_of_a_run(stream: str, backend: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlp, "Mlp", Watched)
    monkeypatch.setattr(Watched, "shown", [])
    overrides = {"protocol.evaluate": "final", "protocol.evaluate_every": "1000000", "learner.hidden": "[8]"}
    plan, machine = nlbench.resolve("mlp", stream, seeds=2, overrides=overrides), Machine(device="cpu", backend=backend)
    estimate(plan, machine)
    timed = [event for event in Watched.shown if event[0] == kind]
    moved = sum(event[0] == "moved" for event in Watched.shown)
    assert {event[0] for event in Watched.shown} == {kind, *(("moved",) if stream == "permuted-digits" else ())}
    assert (moved > 0) == (stream == "permuted-digits")
    Watched.shown.clear()
    built, learner = prepare(plan, machine)
    rows_of(learner, built, batch=plan.batch)
    run = [event for event in Watched.shown if event[0] == kind]
    assert 10 < len(timed) <= len(run)
    for ours, theirs in zip(timed, run, strict=False):
        assert all(torch.equal(one, other) for one, other in zip(ours[1:], theirs[1:], strict=True))


def test_an_estimate_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    estimate(nlbench.resolve("mlp", "split-digits"), CPU)
    assert list(tmp_path.iterdir()) == []
