"""A learner's kernels are loaded, or compiled, when it is built: what is timed afterwards is learning."""

from __future__ import annotations

from importlib import import_module

import pytest
from small_streams import smaller

from nlbench.batch import Batch
from nlbench.kernels.programs import Program
from nlbench.learners.building import build
from nlbench.plan import Machine, resolve
from nlbench.protocol import problem_of
from nlbench.runner import build_stream

OPS = ("mlp_step", "chain_step", "metric_update")
STEPS = 20


@pytest.mark.parametrize(
    ("model", "stream"),
    [
        ("mlp", "split-digits"),
        ("cms", "split-digits"),
        ("cms-nested", "split-digits"),
        ("random-features", "split-digits"),
        ("projected-levels", "permuted-digits"),
        ("random-features", "permuted-digits"),
    ],
)
def test_no_kernel_is_loaded_after_the_learner_is_built(model: str, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = [import_module(f"nlbench.kernels.{op}._numba") for op in OPS]
    programs = [value for module in modules for value in vars(module).values() if isinstance(value, Program)]
    for program in programs:
        monkeypatch.setattr(program, "_addresses", {})
    plan = resolve(model, stream, seeds=(0,), overrides=smaller(model, stream))
    shown = build_stream(plan, Machine(device="cpu"))
    learner = build(plan.learner.learner, problem_of(shown, steps=1000, backend="numba"))
    loaded = [len(program._addresses) for program in programs]
    assert any(loaded)
    samples = shown.train(1)
    classes = shown.competing(1, 1)
    batches = samples.batches(shown.presentation("1/0", len(samples)), plan.batch)
    for _, (inputs, labels) in zip(range(STEPS), batches, strict=False):
        learner.observe(Batch(inputs, labels, classes, None))
    assert [len(program._addresses) for program in programs] == loaded
