"""Averaged gradient episodic memory: a step never goes against the gradient of stored samples.

Source: Chaudhry et al. 2019 (arXiv 1812.00420), eq. 11. g is the batch's gradient, r that of samples drawn from the buffer:

    g - (g·r / r·r) r  where g·r < 0,  otherwise g

The paper stores samples of former tasks by boundaries; this is its online form with a reservoir of all samples so far (A-GEM-R in
Buzzega et al. 2020).

Told    nothing about tasks.
Stored  a reservoir of `capacity` samples with labels.
Cost    a forward and a backward pass of the drawn samples more a step, and two products of gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.replay.config import AGemConfig
from nlbench.learners.replay.rehearsal import Rehearsal, competing, surprises
from nlbench.networks.network import Tree


class AGem(Rehearsal):
    """Projects each gradient on what does not raise the loss of the drawn samples."""

    def __init__(self, config: AGemConfig, problem: Problem) -> None:
        self._reference: Tree = {}
        super().__init__(config, problem)

    def loss(self, batch: Batch) -> Tensor:
        if not self.buffer.empty:
            old = self.buffer.sample(self.drawn(batch))
            logits = self.logits(old["inputs"], None, training=True)
            self._reference = self.gradients(surprises(logits, old["labels"], competing(batch, old)).mean(1))
        return super().loss(batch)

    def adjust(self, gradients: Tree) -> Tree:
        reference, self._reference = self._reference, {}  # between steps nothing is held
        return projected(gradients, reference) if reference else gradients


def projected(gradients: Tree, reference: Tree) -> Tree:
    """Take from each seed's gradients, in place, what goes against the reference, as one vector over all parameters."""
    along, length = product(gradients, reference), product(reference, reference)
    against = along.clamp(max=0) / length.clamp(min=torch.finfo(length.dtype).tiny)
    for name, each in gradients.items():
        each.addcmul_(reference[name], against.view(-1, *[1] * (each.ndim - 1)), value=-1)
    return gradients


def product(one: Tree, other: Tree) -> Tensor:
    """Return the inner products (S,) of two trees of the same names."""
    return torch.stack([torch.linalg.vecdot(each.flatten(1), other[name].flatten(1)) for name, each in one.items()]).sum(0)
