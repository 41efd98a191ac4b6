"""Dark experience replay: stored samples keep the logits that they had when they came, and the network goes on giving them.

Source: Buzzega et al. 2020 (arXiv 2004.07211), eq. 5 (DER) and 6 (DER++). z are stored logits; their squared distance is averaged
over logits, as in the authors' programme, for which their weights are given:

    DER     L(θ) = CE(batch) + α mean over drawn (f_θ(x) - z)²
    DER++   L(θ) = CE(batch) + α mean over drawn (f_θ(x) - z)² + β CE(drawn once more)

Told    nothing about tasks.
Stored  a reservoir of `capacity` samples with labels and logits.
Cost    a forward and a backward pass of the drawn samples more a step; DER++ twice.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.gradient import GradientLearner
from nlbench.learners.replay.config import DerConfig, DerppConfig
from nlbench.learners.replay.rehearsal import Rehearsal, competing, surprises
from nlbench.networks.network import Tree


class Der(Rehearsal):
    """Keeps the answers to stored samples."""

    made_anew: ClassVar[tuple[str, ...]] = (*GradientLearner.made_anew, "_answers")

    def __init__(self, config: DerConfig | DerppConfig, problem: Problem) -> None:
        self._alpha = config.alpha
        self._answers: dict[tuple[int | None, int, bool], Tensor] = {}
        """The logits of the last batch of each kind, which its captured step writes."""
        super().__init__(config, problem, extras={"logits": torch.empty(problem.n_classes)})

    def loss(self, batch: Batch) -> Tensor:
        if self.buffer.empty:
            return self._new(self.logits(batch.inputs, None, training=True), batch)
        old = self.drawn_for(batch)
        new_logits, old_logits = self.together(batch, old)
        return self._new(new_logits, batch) + self.of_old(batch, old, old_logits)

    def drawn_for(self, batch: Batch) -> Tree:
        """Return the stored samples that a step learns."""
        return self.buffer.sample(self.drawn(batch))

    def of_old(self, batch: Batch, old: Tree, logits: Tensor) -> Tensor:
        """Return the part of the loss, (S,), that is of stored samples with logits (S, n, C)."""
        return self._alpha * (logits - old["logits"]).square().mean((1, 2))

    def extras(self, batch: Batch) -> Tree:
        return {**super().extras(batch), "logits": self._answers[self._kind(batch)]}

    def _new(self, logits: Tensor, batch: Batch) -> Tensor:
        self._answers[self._kind(batch)] = logits.detach()
        return surprises(logits, batch.labels, batch.classes).mean(1)

    def _kind(self, batch: Batch) -> tuple[int | None, int, bool]:
        return batch.task, batch.labels.shape[1], self.buffer.empty


class Derpp(Der):
    """Keeps the answers to stored samples, and others' labels."""

    def __init__(self, config: DerppConfig, problem: Problem) -> None:
        self._beta = config.beta
        super().__init__(config, problem)

    def drawn_for(self, batch: Batch) -> Tree:
        twice = [self.buffer.places(self.drawn(batch)) for _ in range(2)]
        return self.buffer.at(torch.cat(twice, 1))

    def of_old(self, batch: Batch, old: Tree, logits: Tensor) -> Tensor:
        n = self.drawn(batch)
        first, second = ({name: value[:, part] for name, value in old.items()} for part in (slice(n), slice(n, None)))
        of_first, of_second = logits.tensor_split([n], 1)
        labels = surprises(of_second, second["labels"], competing(batch, second)).mean(1)
        return super().of_old(batch, first, of_first) + self._beta * labels
