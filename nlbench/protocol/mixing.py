"""Test samples of several tasks in one block, so that a block tells no learner which task it is from.

A learner that answers by what most of a block looks like would gain from blocks of one task each. Where its rows are independent,
which a few rows of several tasks together show, blocks may be of one task: they cost less, and tell it nothing it can use.

Shapes: S seeds, N samples of a block, C logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from nlbench import seeds as draws
from nlbench.protocol.schedule import PROBED_SAMPLES, probed
from nlbench.streams.stream import Samples

AGREEMENT: Final = 1e-3
"""Two readings of one row agree within this share of the seed's largest finite logit: rounding is less, a vote is more."""


class Part(NamedTuple):
    """Samples of one task that stand in a block: their labels (1 or S, n), and where in the block (n,)."""

    task: int
    labels: Tensor
    places: Tensor


class Mixed(NamedTuple):
    """A block of several tasks' samples: inputs (1 or S, N, *input_shape) and its parts."""

    inputs: Tensor
    parts: list[Part]


def mixed(tasks: Mapping[int, Samples], size: int) -> Iterator[Mixed]:
    """Yield all samples of all tasks, `size` at a time, in an order drawn once, the same for all seeds."""
    counts = torch.tensor([len(samples) for samples in tasks.values()], dtype=torch.int64)
    order = torch.from_numpy(draws.permutation((draws.FIXED,), "evaluation/mixed", int(counts.sum())))[0]
    first = counts.cumsum(0) - counts
    for chosen in order.split(size) if tasks else ():
        owner = torch.searchsorted(first, chosen, right=True) - 1
        inputs, parts, places = [], [], []
        for index, (task, samples) in enumerate(tasks.items()):
            where = (owner == index).nonzero().flatten()
            if len(where):
                device = samples.rows.device
                shown, labels = samples.take((chosen[where] - first[index]).to(device)[None])
                inputs.append(shown)
                places.append(where)
                parts.append(Part(task, labels, where.to(device)))
        shown = together(inputs)
        yield Mixed(shown[:, torch.cat(places).argsort().to(shown.device)], parts)


class Probe:
    """Whether a learner's rows are independent: what it answers to a few samples in their task's first block, and to the same
    ones among samples of other tasks.
    """

    def __init__(self, tasks: Sequence[int], size: int) -> None:
        """`size` is that of blocks."""
        self._size = size
        self._tasks = set(probed(tasks))
        self._inputs: list[Tensor] = []
        self._alone: list[Tensor] = []

    def keep(self, task: int, samples: Samples, logits: Tensor) -> None:
        """Keep what was answered, (S, N, C), to some of a task's first block; of a task that is not probed nothing."""
        if task in self._tasks:
            n = min(len(samples), self._size)
            chosen = draws.permutation((draws.FIXED,), f"evaluation/probe/{task}", n)[:, :PROBED_SAMPLES]
            index = torch.from_numpy(chosen).to(logits.device)
            self._inputs.append(samples.take(index)[0])
            self._alone.append(logits[:, index[0]])

    def independent(self, predict: Callable[[Tensor], Tensor]) -> bool:
        """Return whether the answers are the same among each other. Cost: one block of at most 128 samples."""
        if not self._inputs:
            return True
        alone = torch.cat(self._alone, 1)
        order = torch.from_numpy(draws.permutation((draws.FIXED,), "evaluation/probe", alone.shape[1])[0]).to(alone.device)
        return agree(predict(together(self._inputs)[:, order]), alone[:, order])


def together(parts: Sequence[Tensor]) -> Tensor:
    """Return inputs (1 or S, n, *input_shape) behind each other."""
    size = max(map(len, parts))
    return torch.cat([part.expand(size, *part.shape[1:]) for part in parts], 1)


def agree(first: Tensor, second: Tensor) -> bool:
    """Return whether two readings (S, N, C) of the same rows agree: infinities at the same places, all else but for rounding."""
    finite = torch.isfinite(first)
    if not torch.equal(finite, torch.isfinite(second)):
        return False
    first, second = (torch.where(finite, each, 0.0) for each in (first, second))
    scale = torch.maximum(first.abs(), second.abs()).flatten(1).amax(1)[:, None, None]
    return bool(((first - second).abs() <= AGREEMENT * scale).all())
