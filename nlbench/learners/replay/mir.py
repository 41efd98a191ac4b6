"""Maximally interfered retrieval: of some stored samples those are replayed whose loss the coming step would raise most.

Source: Aljundi et al. 2019 (arXiv 1908.04742), eq. 1 and alg. 1 (ER-MIR). θ' = θ - rate ∇CE(batch) is a step of the plain
gradient that is not taken:

    L(θ) = mean over batch ∪ worst of CE,  worst = those of highest CE(x; θ') - CE(x; θ) among `candidates` drawn

Told    nothing about tasks.
Stored  a reservoir of `capacity` samples with labels.
Cost    over experience replay a backward pass of the batch, and two forward passes of the candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.replay.config import MirConfig
from nlbench.learners.replay.rehearsal import Rehearsal, competing, surprises
from nlbench.networks.network import Tree


class Mir(Rehearsal):
    """Replays what the batch would make it forget."""

    def __init__(self, config: MirConfig, problem: Problem) -> None:
        self._candidates = config.candidates
        super().__init__(config, problem)

    def loss(self, batch: Batch) -> Tensor:
        new = surprises(self.logits(batch.inputs, None, training=True), batch.labels, batch.classes)
        if self.buffer.empty:
            return new.mean(1)
        gradients = self.gradients(new.mean(1), again=True)
        old = self._worst(batch, gradients)
        logits = self.logits(old["inputs"], None, training=True)
        return torch.cat([new, surprises(logits, old["labels"], competing(batch, old))], 1).mean(1)

    @torch.no_grad()
    def _worst(self, batch: Batch, gradients: Tree) -> Tree:
        """Return the candidates that a step along these gradients would harm most."""
        places = self.buffer.places(self._candidates)
        moved = {**self.parameters, **{name: self.parameters[name] - self.rate * each for name, each in gradients.items()}}
        old = self.buffer.at(places)
        before, after = (
            surprises(self.logits(old["inputs"], None, training=False, parameters=each), old["labels"], competing(batch, old))
            for each in (self.parameters, moved)
        )
        again = torch.arange(self._candidates, device=places.device) >= self.buffer.filled.sum(1, keepdim=True)
        harm = (after - before).masked_fill(again, -torch.inf)  # what was drawn once more, as there is little
        worst = harm.topk(min(self.drawn(batch), self._candidates), 1).indices
        return self.buffer.at(places.gather(1, worst))
