"""The learner's first layer moves instead of the pixels: exactly, back again, and only where that says the same."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
import torch
from small_streams import cms, declared_stream, mlp, rows_of, running, small_stream, untimed, values
from torch import Tensor

from nlbench import Batch, Learner
from nlbench.learners.mlp import Mlp
from nlbench.protocol import mixing
from nlbench.protocol.order import PixelOrder
from nlbench.streams.stream import Stream


class Linear(Learner):
    """Whole numbers as weights, so that sums are exact in any order."""

    def __init__(self, stream: Stream) -> None:
        generator = torch.Generator().manual_seed(3)
        self.weight = torch.randint(-9, 9, (len(stream.seeds), 3, *stream.input_shape), generator=generator).double()
        self.moves: list[Tensor] = []

    def permute_inputs(self, order: Tensor) -> None:
        self.moves.append(order)
        self.weight = self.weight.gather(2, order[:, None].expand_as(self.weight))

    def answer(self, inputs: Tensor) -> Tensor:
        return inputs.double().round() @ self.weight.mT


@pytest.fixture(scope="module")
def stream() -> Stream:
    return declared_stream("permuted", [0, 3], tasks=3)


def blocks(stream: Stream, order: PixelOrder, task: int) -> Tensor:
    inputs, _ = next(order.samples(stream.test(task), task).blocks(20))
    return inputs


@pytest.mark.parametrize("visited", [[1], [2, 1, 3], [1, 1, 2, 0, 3, 0], [3, 2, 3, 2]])
def test_a_moved_layer_answers_unpermuted_images_as_its_own_answers_permuted_ones(stream: Stream, visited: list[int]) -> None:
    learner, own = Linear(stream), Linear(stream)
    order = PixelOrder(learner, stream, mixed=False)
    for task in visited:
        order.show(task)
        if task:
            assert blocks(stream, order, task).shape[0] == 1  # the data's own, shared by the seeds
            permuted, _ = next(stream.ordered(stream.test(task), task).blocks(20))
            assert torch.equal(learner.answer(blocks(stream, order, task)), own.answer(permuted))
    order.show(0)
    assert torch.equal(learner.weight, own.weight)
    assert len(learner.moves) == sum(one != other for one, other in pairwise([0, *visited, 0]))


class Still(Linear):
    permute_inputs = property()  # type: ignore[assignment]


@pytest.mark.parametrize("why", ["the learner cannot", "one batch mixes tasks", "the stream moves no pixel"])
def test_where_nothing_can_move_the_images_come_permuted(why: str, stream: Stream) -> None:
    if why == "the stream moves no pixel":
        stream = running(small_stream(), [0, 3])
    learner = (Still if why == "the learner cannot" else Linear)(stream)
    order = PixelOrder(learner, stream, mixed=why == "one batch mixes tasks")
    for task in (2, 1, 0):
        order.show(task)
    assert learner.moves == []
    permuted, _ = next(stream.ordered(stream.test(2), 2).blocks(20))
    assert torch.equal(blocks(stream, order, 2), permuted)


# whole runs


class Noting(Learner):
    """A learner in float64 that keeps every logit it gives; it offers `permute_inputs` only if told to."""

    def __init__(self, inner: Learner, permutes: bool) -> None:
        self.inner = inner
        self.logits: list[Tensor] = []
        if permutes:
            self.permute_inputs = inner.permute_inputs  # type: ignore[attr-defined]

    def observe(self, batch: Batch) -> Tensor:
        return self.inner.observe(Batch(batch.inputs.double(), batch.labels, batch.classes, batch.task))

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        self.logits.append(self.inner.predict(inputs.double(), task))
        return self.logits[-1]

    def state_dict(self) -> dict[str, Tensor]:
        return self.inner.state_dict()


def doubled(inner: Learner) -> Learner:
    """Return the learner with all its tensors in float64."""
    state = {name: value.double() if value.is_floating_point() else value for name, value in inner.state_dict().items()}
    if isinstance(inner, Mlp):  # it keeps its own types when it loads
        for tensors in (inner.weights, inner.biases, inner.weight_velocities, inner.bias_velocities):
            tensors[:] = [tensor.double() for tensor in tensors]
    inner.load_state_dict(state)
    return inner


@pytest.mark.parametrize("kind", ["mlp", "momentum", "cms"])
def test_permuting_the_learner_equals_permuting_every_image(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = declared_stream("permuted", [0, 3], tasks=3, protocol={"batch": 64, "evaluate_every": 320, "prequential": True})

    def run(permutes: bool) -> tuple[Noting, list[Any]]:
        inner = cms(stream) if kind == "cms" else mlp(stream, momentum=0.9 if kind == "momentum" else 0.0)
        learner = Noting(doubled(inner), permutes)
        monkeypatch.setattr(mixing, "_RANDOM", random.Random(1))  # which rows are asked again is no answer
        return learner, untimed(rows_of(learner, stream))

    (moved, rows), (gathered, expected) = run(True), run(False)
    assert rows == expected
    assert len(moved.logits) == len(gathered.logits) > 50
    for ours, theirs in zip(moved.logits, gathered.logits, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-9)
    for name, value in moved.state_dict().items():
        assert torch.allclose(value, gathered.state_dict()[name], atol=1e-9)
    accuracy = values(rows, "accuracy")
    assert min(accuracy[task, task] for task in (1, 2, 3)) > 0.3


@pytest.mark.parametrize("moves", [True, False])
def test_what_is_fed_of_a_task_is_shown_as_the_task_shows_it(stream: Stream, moves: bool) -> None:
    order = PixelOrder(Linear(stream) if moves else Learner({}, None), stream, mixed=False)  # type: ignore[arg-type]
    for task in (1, 3):
        permuted, _ = next(stream.ordered(stream.test(task), task).blocks(20))
        fed = blocks(stream, order, task)
        assert len(fed) == (1 if moves else 2)
        assert torch.equal(order.shown(fed, task), permuted)
