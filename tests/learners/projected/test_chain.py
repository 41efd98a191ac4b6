from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_projected import AT_ONCE, AT_ONCE_NAMES, LEVELS, B, C, N, S, learner
from torch import Tensor

from nlbench.learners.projected.chain import Chain, Told, rectified
from nlbench.learners.projected.continuum import Continuum
from nlbench.learners.projected.memory import with_constant

ALL = torch.ones(C, dtype=torch.bool)


def chain(table: dict[str, Any]) -> tuple[Chain, Continuum]:
    made = learner(table, backend="reference")
    return Chain(made.continuum, made.schedule), made.continuum


def shown(chunks: int, width: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(3)
    return with_constant(torch.randn(S, chunks * B, width, generator=draw)), torch.randint(C, (S, chunks, B), generator=draw)


@pytest.mark.parametrize("table", AT_ONCE, ids=AT_ONCE_NAMES)
@pytest.mark.parametrize("before", [0, 2])
def test_chunks_in_one_call_are_the_chunks_call_by_call(table: dict[str, Any], before: int) -> None:
    (alone, held), (together, whole) = chain(table), chain(table)
    keys, labels = shown(6, whole.memories[0].weights.shape[2] - 1)
    calls = zip(keys.split(B, 1), labels.split(1, 1), strict=True)
    losses = [alone.learn(own, Told(said, ALL, None), before + i) for i, (own, said) in enumerate(calls)]
    torch.testing.assert_close(together.learn(keys, Told(labels, ALL, None), before), torch.cat(losses), atol=1e-5, rtol=1e-5)
    found = whole.tensors()
    for name, value in held.tensors().items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)


def test_the_loss_is_of_what_was_read_before_anything_was_written() -> None:
    made, held = chain(LEVELS)
    keys, labels = shown(1, N)
    read = keys
    for memory in held.memories[:-1]:
        read = F.pad(torch.relu(read @ memory.weights.mT), (0, 1), value=1.0)
    answers = read @ held.memories[-1].weights.mT
    expected = F.cross_entropy(answers.mT, labels[:, 0], reduction="none").mean(1)
    torch.testing.assert_close(made.learn(keys, Told(labels, ALL, None), 0)[0], expected)


def test_answers_become_keys_with_their_constant() -> None:
    blank, answers = torch.ones(S, B, 4), torch.randn(S, B, 3, generator=torch.Generator().manual_seed(0))
    found = rectified(answers, blank)
    assert torch.equal(found[..., :-1], answers.clamp_min(0))
    assert torch.equal(found[..., -1], torch.ones(S, B))
