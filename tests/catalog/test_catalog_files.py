"""Every declaration of the catalog: it holds, it builds, and every recipe runs on every stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from _pytest.mark import ParameterSet
from quick_cases import quick_if, sampled
from small_streams import CPU, smaller

from nlbench import Batch, Learner, catalog, sources
from nlbench.errors import NlbenchError
from nlbench.learners.building import build
from nlbench.metrics import compute
from nlbench.plan import DeclaredStream, Plan, resolve
from nlbench.protocol import Schedule, evaluated_tasks, problem_of
from nlbench.sources import Arrays, Source
from nlbench.specs import read_table, stream_spec, validate
from nlbench.specs.recipes import TERMS
from nlbench.streams.building import build as build_stream
from nlbench.streams.stream import Stream

MODELS, NAMES = catalog.names("model"), catalog.names("stream")
FILES = [*(catalog.find("model", name) for name in MODELS), *(catalog.find("stream", name) for name in NAMES)]
SEEDS = (0, 1)


SHARE = 20
"""How many times larger data sets are than those made here."""


@cache
def stream_named(name: str) -> Stream:
    """Return a stream of the catalog; of data sets other than the digits, a small one is made of the same shape and classes."""
    spec = stream_spec(read_table(catalog.find("stream", name)), name)
    found = spec.stream.found
    known = {field.name: getattr(found, field.name) for field in fields(Source)}
    return build_stream(DeclaredStream(name, spec, found if found.name == "digits" else Made(**known)), SEEDS, CPU)


class Made(Source):
    """Samples of noise: a row of it in an image, else everywhere."""

    def read(self, data: object = None) -> Arrays:
        rng = np.random.Generator(np.random.Philox(0))
        parts = []
        for n in (60000 // SHARE, 10000 // SHARE):
            n = max(n // self.input_shape[0] if self.kind == "image" else n, 4 * self.n_classes)
            inputs = np.zeros((n, *self.input_shape), np.float32)
            shown = inputs[:, 0, self.input_shape[1] // 2] if self.kind == "image" else inputs
            shown[:] = rng.random(shown.shape, dtype=np.float32)
            parts += [inputs, np.arange(n) % self.n_classes]
        return Arrays(*parts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_holds_and_says_what_it_is(path) -> None:
    assert validate(read_table(path), path) == ("stream" if path.parent.name == "tasks" else "learner")
    title = read_table(path)["title"]
    assert 20 <= len(title) <= 120
    assert not title.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_every_stream_has_margins_for_what_it_measures_and_is_named_by_its_kind_and_data(name: str) -> None:
    spec = stream_spec(read_table(catalog.find("stream", name)), name)
    margins = set(spec.check.model_dump(exclude_none=True)) - {"min_seeds"}
    if spec.stream.conflicts:
        assert margins == {"learning_accuracy", "prequential_accuracy"}
        assert spec.protocol.prequential
        margins -= {"prequential_accuracy"}
    else:
        assert "average_accuracy" in margins
        assert margins & {"forgetting", "forgetting_first"}
    n_tasks = spec.stream.tasks
    matrix = np.ma.masked_all((n_tasks + 1, n_tasks))
    for task in range(n_tasks + 1):
        matrix[task, [j - 1 for j in evaluated_tasks(spec.protocol.evaluate, task, n_tasks)]] = 0.5
    measured = {metric for metric, value in compute(matrix).items() if value.value is not None}
    assert margins <= measured
    data = spec.stream.source.replace("fashion-mnist", "fashion")
    assert f"{spec.stream.kind}-{data}" in name


@pytest.mark.parametrize("name", NAMES)
def test_every_stream_builds_with_tasks_that_are_not_empty(name: str) -> None:
    stream = stream_named(name)
    for task in range(1, stream.n_tasks + 1):
        assert stream.train_size(task) >= 4
        assert len(stream.test(task)) >= 4
        labels = stream.test(task).labels
        assert stream.task_classes(task)[labels].all()
        assert stream.chance(task).max() < 0.7
    inputs, _ = stream.ordered(stream.test(1), 1).take(torch.arange(3)[None])
    assert inputs.shape[2:] == stream.input_shape


def built(name: str, model: str, seeds: tuple[int, ...], **overrides: str) -> tuple[Plan, Learner]:
    plan = resolve(model, name, seeds=seeds, scenario="task-il" if told(model) else None, overrides=overrides)
    stream = stream_named(name)
    schedule = Schedule.of(stream, plan.batch, plan.learner.presents)
    steps = schedule.steps_to_last_row * (1 if plan.stream.stream.source == "digits" else SHARE)
    problem = problem_of(stream, steps=steps, backend="auto")
    return plan, build(plan.learner.learner, replace(problem, seeds=seeds, scenario=plan.stream.stream.scenario))


def told(model: str) -> bool:
    """Return whether a recipe's learner must be told the task."""
    return "task" in catalog.needs(read_table(catalog.find("model", model))["learner"]["kind"])


@cache
def representatives() -> tuple[str, ...]:
    """Return the shortest stream of each kind of stream and data set that recipes have values for, and of each kind of sample;
    none of colours, which take three times as long and tell no more.
    """
    declared = {name: read_table(catalog.find("stream", name))["stream"] for name in NAMES}
    grey = [name for name in NAMES if sources.find(declared[name]["source"]).input_shape[0] != 3]
    shortest = sorted(grey, key=lambda name: (declared[name].get("tasks", 5), len(name)), reverse=True)
    named = {place for model in MODELS for place in read_table(catalog.find("model", model)).get("on", {})}

    def what(name: str) -> tuple[str, str]:
        kind, source = declared[name]["kind"], declared[name]["source"]
        own = name in named or f"{kind}/{source}" in named or kind != "split"
        return kind, source if own else sources.find(source).kind

    return tuple(sorted({what(name): name for name in shortest}.values()))


def pairs() -> Iterator[ParameterSet]:
    """Return every recipe on every representative; quick are all on split-digits, and the sampled ones on permuted-digits."""
    for name, model in product(representatives(), MODELS):
        yield quick_if(name in ("split-digits", "permuted-digits") and model in sampled(), name, model)


@pytest.mark.parametrize(("name", "model"), list(pairs()))
def test_a_recipe_is_built_on_a_stream_or_says_why_not_and_a_smaller_one_learns_its_first_batches(name: str, model: str) -> None:
    try:
        sizes = built(name, model, (0,))[1].memory_bytes()
    except NlbenchError as refusal:
        images = name.startswith("split-") and stream_named(name).sample == "image"
        if images or not refusal.hint:
            raise
        return
    assert sizes["parameters"] > 0 or model == "in-context"  # which has nothing but samples, and none yet
    assert all(isinstance(size, int) and size >= 0 for size in sizes.values())
    (plan, learner), stream = built(name, model, SEEDS, **smaller(model, name)), stream_named(name)
    samples, task = stream.ordered(stream.train(1), 1), 1 if told(model) else None
    order = stream.presentation("1/0", len(samples))[:, : 2 * plan.batch]
    with torch.no_grad():
        for first in (0, plan.batch):
            inputs, labels = samples.take(order[:, first : first + plan.batch])
            loss = learner.observe(Batch(inputs, labels, stream.competing(1, 1), task))
            assert loss.shape == (2,)
            assert torch.isfinite(loss).all()
        logits = learner.predict(stream.test(1).inputs[None, :5], task)
    assert logits.shape == (2, 5, stream.n_classes)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scenario", ["task-il", "domain-il", "class-il"])
def test_every_recipe_resolves_in_every_scenario(model: str, scenario: str) -> None:
    names = [name for name in representatives() if scenario != "class-il" or not name.startswith("relabelled-")]
    prints = {resolve(model, name, seeds=SEEDS, scenario=scenario).fingerprint for name in names}
    assert len(prints) == len(names)


@pytest.mark.parametrize("model", MODELS)
def test_tables_for_streams_change_something(model: str) -> None:
    table = read_table(catalog.find("model", model))
    for stream, values in table.get("on", {}).items():
        base = {**table["learner"], **{key: table[key] for key in TERMS if key in table}}
        assert any(base.get(key) != value for key, value in values.items()), f"[on.{stream!r}] repeats what stands above"


def test_recipes_of_learners_that_need_boundaries_have_them_told_and_no_others_do() -> None:
    tables = {model: read_table(catalog.find("model", model)) for model in MODELS}
    needing = {model for model, table in tables.items() if "boundaries" in catalog.needs(table["learner"]["kind"])}
    assert {model for model, table in tables.items() if table.get("boundaries")} == needing
