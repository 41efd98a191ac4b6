"""Whole test sets and fixed parts of them, as tasks show them and as they are fed."""

from __future__ import annotations

import pytest
import torch
from small_streams import Spy, declared_stream, mlp, problem_of, running, small_stream, small_tasks
from torch import Tensor

from nlbench import seeds as draws
from nlbench.batch import Learner
from nlbench.protocol.measured import BLOCK, Part, Whole
from nlbench.protocol.order import PixelOrder
from nlbench.streams.stream import Stream


def order_of(learner: Learner, stream: Stream) -> PixelOrder:
    return PixelOrder(learner, stream, mixed=False)


def test_blocks_are_of_whole_test_sets_or_one_of_a_fixed_part() -> None:
    stream = running(small_stream(tasks=small_tasks(2, n_test=[2 * BLOCK + 3, 20])), [4, 9])
    order = order_of(Spy({}, problem_of(stream)), stream)
    whole, part = Whole(stream, order), Part(stream, order)
    assert [labels.shape[1] for _, labels in whole.fed(1)] == [BLOCK, BLOCK, 3]
    assert [labels.shape[1] for _, labels in part.fed(1)] == [500]
    for sets in (whole, part):
        for task in (1, 2):
            assert sets.size(task) == len(sets.shown(task)) == sum(labels.shape[1] for _, labels in sets.fed(task))


def test_a_part_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = running(small_stream(), [4, 9])
    part, drawn, permutation = Part(stream, order_of(Spy({}, problem_of(stream)), stream)), [], draws.permutation
    monkeypatch.setattr(draws, "permutation", lambda seeds, name, n: drawn.append(name) or permutation(seeds, name, n))
    for _ in range(3):
        for task in (1, 3):
            part.fed(task)
            part.shown(task)
    assert drawn == ["evaluation/1", "evaluation/3"]


@pytest.mark.parametrize("kind", [Whole, Part])
def test_what_is_fed_is_what_the_task_shows_but_for_its_pixel_order(kind: type[Whole]) -> None:
    stream = declared_stream("permuted", [0, 3], tasks=3)
    order = order_of(mlp(stream), stream)
    sets = kind(stream, order)
    for task in (1, 2):
        fed: Tensor = torch.cat([inputs for inputs, _ in sets.fed(task)], 1)
        shown, labels = sets.shown(task).take(torch.arange(sets.size(task))[None])
        assert torch.equal(order.shown(fed, task), shown)
        assert torch.equal(torch.cat([each for _, each in sets.fed(task)], 1).expand_as(labels), labels)
