"""What must not matter: how much is evaluated, which learner looks on, whose pixels move, the other seeds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from _pytest.mark import ParameterSet
from quick_cases import RECIPES, quick_if, recipes, sampled
from small_streams import (
    bytes_digest,
    declared_stream,
    made_mnist,
    mlp,
    problem_of,
    rows_of,
    running,
    small_stream,
    smaller,
    untimed,
    values,
)
from torch import Tensor

from nlbench import Batch, Learner, catalog
from nlbench import seeds as draws
from nlbench.learners.chance import Chance
from nlbench.learners.cms import Cms
from nlbench.learners.config import ChanceConfig, CmsConfig, MlpConfig
from nlbench.learners.mlp import Mlp
from nlbench.plan import Machine, resolve
from nlbench.protocol import mixing
from nlbench.runner import prepare
from nlbench.sources import Source, idx

NEEDS_IMAGES = ("convolution-ridge",)
"""What is refused where pixels are permuted."""


def pairs(*streams: str) -> Iterator[ParameterSet]:
    """Return every recipe on every stream that it can learn: quick are the sampled ones on split-digits, and three elsewhere."""
    for stream, recipe in product(streams, RECIPES):
        if recipe not in NEEDS_IMAGES or "permuted" not in stream:
            quick = sampled() if stream == "split-digits" else {"mlp", "hope", "projected-levels"}
            yield quick_if(recipe in quick, recipe, stream)


FULL_SIZE = ("mlp", "cms", "joint-one-pass", "chance")


def prepared(recipe: str, stream: str, seeds: tuple[int, ...], **overrides: str) -> Any:
    """Return a recipe's plan, stream and learner; `protocol__batch` stands for the override `protocol.batch`."""
    plan = resolve(recipe, stream, seeds=seeds, overrides={key.replace("__", "."): value for key, value in overrides.items()})
    return plan, *prepare(plan, Machine(device="cpu"))


def run_recipe(recipe: str, stream: str, seeds: tuple[int, ...], **overrides: str) -> tuple[Learner, list[Any]]:
    plan, made, learner = prepared(recipe, stream, seeds, **overrides)
    return learner, rows_of(learner, made, batch=plan.batch, presents=plan.learner.presents)


# streams are the same for every learner


@pytest.mark.parametrize("kind", ["split", "permuted"])
def test_learners_see_byte_equal_streams(kind: str) -> None:
    stream = declared_stream(kind, [0, 3], tasks=5, protocol={"evaluate": "final", "batch": 64})
    digests = set()

    def spying(base: type[Learner]) -> type[Learner]:
        class Spying(base):  # type: ignore[misc, valid-type]
            def observe(self, batch: Batch) -> Tensor:
                self.__dict__.setdefault("_seen", []).append(batch)
                return super().observe(batch)

        return Spying

    makers = [
        (Mlp, MlpConfig(kind="mlp", hidden=(8,))),
        (Cms, CmsConfig(kind="cms", width=8, hidden=8, periods=(1, 3))),
        (Chance, ChanceConfig(kind="chance")),
    ]
    for base, config in makers:
        learner = spying(base)(config, problem_of(stream))
        rows_of(learner, stream)
        digests.add((bytes_digest(learner._seen, 0), bytes_digest(learner._seen, 1)))
    assert len(digests) == 1
    alone = declared_stream(kind, [3], tasks=5, protocol={"evaluate": "final", "batch": 64})
    learner = spying(Mlp)(makers[0][1], problem_of(alone))
    rows_of(learner, alone)
    ((first, second),) = digests
    assert bytes_digest(learner._seen) == second != first


@pytest.mark.parametrize(("every", "passes"), [(None, 1), (50, 1), (64, 2)])
@pytest.mark.parametrize("kind", ["split", "permuted"])
def test_observing_many_batches_at_once_changes_no_row(kind: str, every: int | None, passes: int) -> None:
    """A class that changes `observe` alone is shown one batch after another."""
    stream = declared_stream(kind, [0, 3], tasks=2, protocol={"batch": 8, "evaluate_every": every, "passes": passes})
    problem = replace(problem_of(stream), backend="numba")
    calls: dict[str, list[int]] = {"batches": [], "batch": []}

    class AtOnce(Mlp):
        def observe(self, batch: Batch) -> Tensor:
            raise AssertionError

        def observe_batches(self, batches: Any) -> Tensor:
            calls["batches"].append(-(-batches.rows.shape[1] // batches.size))
            return super().observe_batches(batches)

    class OneByOne(Mlp):
        def observe(self, batch: Batch) -> Tensor:
            calls["batch"].append(batch.inputs.shape[1])
            return super().observe(batch)

    config = MlpConfig(kind="mlp", hidden=(8,))
    rows = [untimed(rows_of(kind(config, problem), stream)) for kind in (AtOnce, OneByOne)]
    assert rows[0] == rows[1]
    assert sum(calls["batches"]) == len(calls["batch"])
    assert max(calls["batches"]) > 1


# evaluation leaves no trace


@pytest.mark.parametrize(("recipe", "stream"), pairs("split-digits", "permuted-digits"))
def test_how_much_is_evaluated_never_changes_what_is_learned(recipe: str, stream: str) -> None:
    fewer = {"stream__tasks": "5" if stream == "split-digits" else "2", "batch": "32", **smaller(recipe, stream)}
    least = {"protocol__evaluate": "final", "protocol__evaluate_every": "1000000"}
    most = {"protocol__evaluate": "full", "protocol__evaluate_every": "160", "protocol__prequential": "true"}
    states = [run_recipe(recipe, stream, (0, 3), **policy, **fewer)[0].state_dict() for policy in (least, most)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.mark.parametrize("recipe", recipes(sampled()))
def test_predicting_twice_gives_the_same_and_draws_nothing(recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = 1 if "task" in catalog.needs(resolve(recipe, "split-digits", seeds=(0,)).learner.learner.kind) else None
    name = "split-digits-task-il" if told else "split-digits"
    _, stream, learner = prepared(recipe, name, (0, 3), **smaller(recipe, "split-digits"))
    with torch.no_grad():
        for inputs, labels in list(stream.train(1).batches(stream.presentation("1/0", len(stream.train(1))), 16))[:9]:
            learner.observe(Batch(inputs, labels, stream.competing(1, 1), told))
        before = {name: value.clone() for name, value in learner.state_dict().items()}
        monkeypatch.setattr(draws, "generator", lambda *purpose: pytest.fail(f"drew {purpose}"))
        torch_state = torch.get_rng_state()
        test, _ = next(stream.test(2).blocks(50))
        first = learner.predict(test, told)
        assert torch.equal(learner.predict(test, told), first)
    assert first.shape == (2, 50, 10)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())


class Peeking(Learner):
    """Faulty: knows the stream, and answers with labels of a test set."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def observe(self, batch: Batch) -> Tensor:
        return torch.zeros(len(self.stream.seeds))

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        labels = self.stream.test(1).labels[0].repeat(inputs.shape[1])[: inputs.shape[1]]
        return torch.nn.functional.one_hot(labels, self.stream.n_classes).expand(len(self.stream.seeds), -1, -1).float()


@pytest.mark.parametrize(
    ("recipe", "blind"), [("hope", True), ("hope-attention", True), ("cms", True), ("mlp", True), (None, False)]
)
def test_permuting_the_test_labels_changes_no_answer_and_no_state(
    recipe: str | None, blind: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(turned: bool) -> list[Tensor]:
        settings = {"batch": "32", "protocol__evaluate_every": "320", **smaller(recipe or "chance", "split-digits")}
        plan, stream, learner = prepared(recipe or "chance", "split-digits", (0, 3), **settings)
        tests = {task: stream.test(task) for task in range(1, stream.n_tasks + 1)}
        if turned:
            tests = {task: replace(samples, labels=samples.labels.roll(1, -1)) for task, samples in tests.items()}
        stream.test = tests.__getitem__
        learner, logits = learner if recipe else Peeking(stream), []
        kind, predict = type(learner), type(learner).predict
        with monkeypatch.context() as patched:
            patched.setattr(mixing, "_RANDOM", random.Random(1))  # which rows are asked again is no answer
            patched.setattr(kind, "predict", lambda *arguments: logits.append(predict(*arguments)) or logits[-1])
            rows_of(learner, stream, batch=plan.batch)
        return [*logits, *(learner.state_dict().values() if recipe else ())]

    assert all(torch.equal(one, other) for one, other in zip(answers(False), answers(True), strict=True)) == blind


def test_a_run_draws_orders_and_the_fixed_subsamples_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = running(small_stream(evaluate_every=16, passes=2), [0, 5])
    learner, drawn, generator = mlp(stream), [], draws.generator
    monkeypatch.setattr(draws, "generator", lambda seed, purpose: drawn.append((seed, purpose)) or generator(seed, purpose))
    rows_of(learner, stream)
    orders = {(seed, f"order/{task}/{number}") for seed in (0, 5) for task in (1, 2, 3) for number in (0, 1)}
    assert set(drawn) == orders | {(draws.FIXED, f"evaluation/{task}") for task in (1, 2, 3)}
    assert len(drawn) == len(set(drawn))


# one seed among others


@pytest.mark.parametrize("recipe", recipes({*sampled(), *FULL_SIZE}))
def test_a_seed_scores_the_same_alone_as_among_ten_on_digits(recipe: str) -> None:
    overrides = {} if recipe in FULL_SIZE else smaller(recipe, "split-digits")
    (_, among), (_, alone) = (run_recipe(recipe, "split-digits", seeds, **overrides) for seeds in (tuple(range(10)), (3,)))
    for metric in ("accuracy", "accuracy_within", "chance"):
        assert [row for row in among if row.seed == 3 and row.metric == metric] == [row for row in alone if row.metric == metric]
    if recipe != "chance":
        assert values(among, "accuracy", 3) != values(among, "accuracy", 4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Source]:
    folder = tmp_path_factory.mktemp("data")
    return folder, made_mnist(folder, side=28, n_train=320)


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "stream"), pairs("split-mnist", "permuted-mnist", "rotated-mnist"))
def test_a_seed_scores_the_same_within_a_sample_a_cell_elsewhere(
    recipe: str, stream: str, made: tuple[Path, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLBENCH_DATA", str(made[0]))
    monkeypatch.setattr(idx, "MNIST", made[1])
    overrides = {"batch": "16", "protocol__evaluate_every": "1000000", "stream__tasks": "2", **smaller(recipe, stream)}
    (_, among), (_, alone) = (run_recipe(recipe, stream, seeds, **overrides) for seeds in ((0, 3), (3,)))
    ours = [row for row in among if row.seed == 3 and row.metric in ("accuracy", "accuracy_within")]
    theirs = [row for row in alone if row.metric in ("accuracy", "accuracy_within")]
    assert len(ours) == len(theirs) > 0
    for one, other in zip(ours, theirs, strict=True):
        assert one[:5] == other[:5]
        assert abs(one.value - other.value) <= 1 / one.n + 1e-12
