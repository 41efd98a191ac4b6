"""In float64: several chunks through one memory are the chunks one after another, written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nlbench.kernels import batch_product, bind, metric_update
from nlbench.kernels.branches import Branches
from nlbench.learners.projected.at_once import AtOnce
from nlbench.learners.projected.memory import Memory, Ops, Writing

S, B, D, V, CHUNKS = 2, 3, 6, 4, 4


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


@pytest.mark.parametrize("bound", [float("inf"), 0.3])
def test_later_chunks_read_what_earlier_ones_wrote_and_so_does_what_is_below(bound: float) -> None:
    weights, keys, wanted = drawn(S, V, D), drawn(S, CHUNKS * B, D), drawn(S, CHUNKS * B, V)
    steps = bind(metric_update, "reference", weights)
    ops = Ops(steps, steps.beside(batch_product, weights))
    memory = Memory(weights.clone(), Writing(0.2, 1.0, bound=bound), ops, gathers=False, protects=False, first=False, hidden=True)
    through = AtOnce(memory, keys, memory.directions(keys), B, Branches(2, weights.device), (0, 1), below=True)
    answers, found, below = memory.answers(keys), [], []
    for number, own in enumerate(through.parts):
        found.append(through.corrected(number, answers[:, own]).clone())
        through.add(number, found[-1] - wanted[:, own])
    errors = torch.cat(found, 1) - wanted
    product = memory.below(errors)
    through.correct_below(product)
    now = weights.clone()
    for number, own in enumerate(through.parts):
        answer = keys[:, own] @ now.mT
        error = answer - wanted[:, own]
        torch.testing.assert_close(found[number], answer)
        below.append(error @ now)
        move = error.mT @ keys[:, own]
        now = now - 0.2 * move * (bound / move.flatten(1).norm(dim=1)).clamp_max(1.0)[:, None, None]
    torch.testing.assert_close(product, torch.cat(below, 1))
    memory.step(keys, memory.directions(keys), through.moves, chunks=CHUNKS, ends=True, gathers=False)
    torch.testing.assert_close(memory.weights, now)


def test_one_chunk_is_read_as_it_is_and_what_branches_read_is_held() -> None:
    weights, keys = drawn(S, V, D), drawn(S, 2 * B, D)
    steps = bind(metric_update, "reference", weights)
    ops = Ops(steps, steps.beside(batch_product, weights))
    memory = Memory(weights, Writing(0.2, 1.0), ops, gathers=False, protects=False, first=False, hidden=True)

    def through(size: int) -> AtOnce:
        return AtOnce(memory, keys, memory.directions(keys), size, Branches(2, weights.device), (0, 1), below=True)

    whole, halves = through(2 * B), through(B)
    answers = memory.answers(keys)
    assert torch.equal(whole.corrected(0, answers.clone()), answers)
    assert whole.held() == []
    for number in (0, 1):
        halves.add(number, drawn(S, B, V))
    assert len(halves.held()) == 1 + 1 + 1  # moves, an effect, an overlap
