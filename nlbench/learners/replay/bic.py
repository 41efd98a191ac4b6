"""Bias correction (BiC): distillation, and two numbers that put the newest classes' logits right, fitted to samples held out.

Source: Wu et al. 2019 (arXiv 1905.13260), eq. 1-5. o are logits, ô those of the network before, corrected; n classes are old,
m are met in the task at hand, λ = n / (n + m):

    L(θ) = λ T-softened cross-entropy of o to ô over old classes + (1 - λ) CE,  over batch ∪ drawn without what is held out
    o_k  -> α o_k + β  of the m newest classes when a task ends, α and β of least CE on what is held out

Between boundaries the last correction stands. In the paper no class comes back; here one that does is among n and among m, both
distilled and learned from its labels. The paper learns a task many times; here it is shown as often as the stream says.

Told    when a task ends.
Stored  `capacity` samples with labels, as many of each class, of which `held_out` are never trained on; the network before.
Cost    over experience replay a forward pass of the network before; when a task ends one of the samples held out, and a
        convex fit of two numbers.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners import draws
from nlbench.learners.buffer import Buffer
from nlbench.learners.replay.config import BicConfig
from nlbench.learners.replay.correction import fitted
from nlbench.learners.replay.distilling import Distilling
from nlbench.learners.replay.rehearsal import joined, surprises, told


class Bic(Distilling):
    """Corrects the bias towards what it learned last."""

    def __init__(self, config: BicConfig, problem: Problem) -> None:
        self._temperature, self._share = config.temperature, config.held_out
        places = max(1, round(config.capacity * config.held_out))
        self.held_out = Buffer(places, problem, policy="balanced", extras=told(problem), name="held-out")
        self._starts = draws.starts(problem.seeds, "held-out/chosen", problem.device)
        self.seen = torch.zeros((), dtype=torch.int64, device=problem.device)
        """Samples so far."""
        seeds = len(problem.seeds)
        self.correction = torch.tensor([1.0, 0.0], device=problem.device).repeat(seeds, 1)
        """(S, 2): α and β."""
        self.corrected = torch.zeros(seeds, problem.n_classes, dtype=torch.bool, device=problem.device)
        """(S, C): the classes that they are of."""
        super().__init__(config, problem, policy="balanced", capacity=max(1, config.capacity - places))

    def loss(self, batch: Batch) -> Tensor:
        trained = ~self._chosen(batch)
        met = self.met.scatter(1, batch.labels, True)
        if not self.buffer.empty:
            batch = joined(batch, self.buffer.sample(self.drawn(batch)))
            trained = torch.cat([trained, trained.new_ones(len(trained), batch.labels.shape[1] - trained.shape[1])], 1)
        logits = self.logits(batch.inputs, None, training=True)
        losses = surprises(logits, batch.labels, batch.classes)
        if self.former.there:
            old, new = self.known.sum(1, keepdim=True), met.sum(1, keepdim=True)
            share = old / (old + new)
            losses = share * self._apart(logits, batch.inputs) + (1 - share) * losses
        return (losses * trained).sum(1) / trained.sum(1).clamp(min=1)

    def held(self) -> list[Tensor]:
        return [*super().held(), self.seen, self.correction, self.corrected]

    def after_step(self, batch: Batch) -> None:
        self.meet(batch)
        chosen = self._chosen(batch)
        self.buffer.add(batch.inputs, batch.labels, where=~chosen, **self.extras(batch))
        self.held_out.add(batch.inputs, batch.labels, where=chosen, **self.extras(batch))
        self.seen += batch.labels.shape[1]

    @torch.no_grad()
    def end_task(self) -> None:
        stored, there = self.held_out.fields, self.held_out.filled
        logits = super().predict(stored["inputs"], None)
        classes = (self.known | self.met)[:, None] & stored.get("classes", torch.ones_like(self.met)[:, None])
        if self.former.there:  # of the first task there is nothing that its classes could be preferred to
            self.correction.copy_(fitted(logits, stored["labels"], classes, self.met, there))
            self.corrected.copy_(self.met)
        super().end_task()

    @torch.no_grad()
    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return self._put_right(super().predict(inputs, task))

    def _apart(self, logits: Tensor, inputs: Tensor) -> Tensor:
        """Return the softened cross-entropy (S, B) of logits to those of the network before, over old classes."""
        new = ~self.known[:, None]
        targets = (self._put_right(self.before(inputs)) / self._temperature).masked_fill(new, -torch.inf).softmax(2)
        shares = (logits / self._temperature).masked_fill(new, -torch.inf).log_softmax(2).masked_fill(new, 0.0)
        return -(targets * shares).sum(2)

    def _put_right(self, logits: Tensor) -> Tensor:
        return torch.where(self.corrected[:, None], self.correction[:, :1, None] * logits + self.correction[:, 1:, None], logits)

    def _chosen(self, batch: Batch) -> Tensor:
        """Return (S, B) bool: the samples of a batch that are held out; none of one that would leave nothing to draw."""
        counters = self.seen + torch.arange(batch.labels.shape[1], device=self.seen.device)
        chosen = draws.numbers(self._starts, counters) < int(self._share * 2**draws.BITS)
        return chosen & ~(chosen.all(1, keepdim=True) & ~self.buffer.filled.any(1, keepdim=True))
