"""Test samples of several tasks in one block, so that a block tells no learner which task it is from.

A learner that answers by what most of a block looks like would gain from blocks of one task each. Where its rows are independent,
which some rows among those of other tasks show, blocks may be of one task: they cost less, and tell it nothing it can use.

Shapes: S seeds, N samples of a block, C logits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random, SystemRandom
from typing import Final, NamedTuple

import torch
from torch import Tensor

from nlbench import seeds as draws
from nlbench.protocol.schedule import FILLERS
from nlbench.streams.stream import Samples

AGREEMENT: Final = 1e-3
"""Two readings of one row agree within this share of the seed's largest finite logit: rounding is less, a vote is more."""


_RANDOM: Final = Random(SystemRandom().getrandbits(256))
"""Begun with the system's own randomness, and drawn from by nothing else: what it draws next nobody can foresee."""


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
    """Whether a learner's rows are independent: what it answers to some samples among those of their task, and to the same ones
    among samples of other tasks.

    Which ones, nobody can foresee: they are drawn from the system's own randomness, of each task as many as of any other, from
    all its blocks. Of n, a learner that votes on a share f of the rows goes unnoticed with a probability of (1 - f)^n at most.
    The draw decides only how closely a learner is watched, never a number: one with independent rows is measured as without it.
    """

    def __init__(self, sizes: Mapping[int, int], count: int) -> None:
        """`sizes` are those of the tasks measured, of which `count` samples are drawn, or all if there are fewer."""
        order = _RANDOM.sample(sorted(sizes), len(sizes))
        turns = islice((task for turn in range(count) for task in order if turn < sizes[task]), count)
        self._places = {task: _RANDOM.sample(range(sizes[task]), n) for task, n in Counter(turns).items()}
        self._asked: list[Tensor] = []
        self._alone: list[Tensor] = []

    def drawn(self, task: int, first: int, size: int) -> list[int]:
        """Return where those drawn stand in a task's block of so many samples that begins at sample `first`."""
        return [place - first for place in self._places.get(task, ()) if first <= place < first + size]

    def keep(self, asked: Tensor, alone: Tensor) -> None:
        """Keep some of those drawn as their task shows them, (1 or S, n, *input_shape), and what was answered to them."""
        self._asked.append(asked)
        self._alone.append(alone)

    def independent(self, predict: Callable[[Tensor], Tensor], others: Sequence[int], shown: Callable[[int], Samples]) -> bool:
        """Return whether the answers are the same among other tasks' samples: among each other, or if all are of one task among
        twice as many of one of the `others`, so that its own task is no majority. Cost: one block of `probed` samples.
        """
        if not self._alone or (len(self._places) == 1 and not others):
            return True
        alone, inputs = torch.cat(self._alone, 1), list(self._asked)
        if len(self._places) == 1:
            filler = shown(_RANDOM.choice(others))
            chosen = _RANDOM.choices(range(len(filler)), k=FILLERS * alone.shape[1])
            inputs.append(filler.take(torch.tensor(chosen, device=alone.device)[None])[0])
        block = together(inputs)
        order = torch.tensor(_RANDOM.sample(range(block.shape[1]), block.shape[1]), device=block.device)
        logits = predict(block[:, order])
        return agree(logits[:, order.argsort()[: alone.shape[1]]], alone)


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
