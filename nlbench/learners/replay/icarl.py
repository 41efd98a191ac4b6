"""iCaRL: exemplars chosen by herding, distillation from the network before, and the class whose exemplars' mean is nearest.

Source: Rebuffi et al. 2017 (arXiv 1611.07725), alg. 1-5. g are sigmoids of logits, q those of the network before on old classes:

    L(θ) = mean over batch ∪ drawn and classes of BCE(g_y(x), q_y(x) where y is old, [y = label] where the task has it)
    y*   = argmin over y of |φ(x) - μ_y|,  μ_y the mean feature of the exemplars of y; features and means of length 1

The paper chooses exemplars among all samples of a task. Here each is shown once, so `candidates` of it are stored until it ends.
A class without exemplars yet is answered by its candidates. A class of a former task that the task at hand shows too, which the
paper does not have, is learned by its labels.

Told    when a task ends.
Stored  `capacity` exemplars and `candidates` samples of the task at hand with labels, and the network before.
Cost    over experience replay a forward pass of the network before; when a task ends the products of all pairs of candidates; to
        answer after a step a forward pass of all that is stored.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.buffer import Buffer
from nlbench.learners.gradient import PREDICTED_AT_ONCE, GradientLearner
from nlbench.learners.replay.config import IcarlConfig
from nlbench.learners.replay.distilling import Distilling
from nlbench.learners.replay.herding import herded
from nlbench.learners.replay.rehearsal import joined, told

FAR = -5.0
"""Of a class of which nothing is stored: farther than vectors of length 1 can be apart, whose squared distance is 4 at most."""


class Icarl(Distilling):
    """Answers with the nearest mean of exemplars."""

    made_anew: ClassVar[tuple[str, ...]] = (*GradientLearner.made_anew, "_means")

    def __init__(self, config: IcarlConfig, problem: Problem) -> None:
        self.candidates = Buffer(config.candidates, problem, extras=told(problem), name="candidates")
        self._means: Tensor | None = None
        super().__init__(config, problem, policy="herding")

    def loss(self, batch: Batch) -> Tensor:
        old = self.known & ~self.met.scatter(1, batch.labels, True)
        if not self.buffer.empty:
            batch = joined(batch, self.buffer.sample(self.drawn(batch)))
        logits = self.logits(batch.inputs, None, training=True)
        targets = F.one_hot(batch.labels, logits.shape[2]).to(logits.dtype)
        if self.former.there:
            targets = torch.where(old[:, None], self.before(batch.inputs).sigmoid(), targets)
        losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return ((losses * batch.classes).sum(2) / batch.classes.sum(-1)).mean(1)

    def after_step(self, batch: Batch) -> None:
        self.meet(batch)
        self.candidates.add(batch.inputs, batch.labels, **self.extras(batch))
        self._means = None

    @torch.no_grad()
    def end_task(self) -> None:
        stored, there, most = self.candidates.fields, self.candidates.filled, self.buffer.capacity
        ranks = herded(self._directions(stored["inputs"]), stored["labels"], most, there)
        self.buffer.add(**stored, ranks=ranks, where=there & (ranks < most))
        self.candidates.clear()
        self._means = None
        super().end_task()

    @torch.no_grad()
    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        if self.buffer.empty and self.candidates.empty:
            return super().predict(inputs, task)
        if self._means is None:
            self._means = self._nearest()
        nearness = 2 * self._directions(inputs) @ self._means.mT - 2  # -|φ - μ|², as both have length 1
        return torch.where(self._means.any(2)[:, None], nearness, FAR)

    def _nearest(self) -> Tensor:
        """Return each class's mean direction (S, C, F), of its exemplars or else of its candidates; noughts where it has none."""
        exemplars, candidates = (self._sums(each) for each in (self.buffer, self.candidates))
        return F.normalize(torch.where(exemplars.any(2, keepdim=True), exemplars, candidates), dim=2)

    def _sums(self, buffer: Buffer) -> Tensor:
        """Return the sum of the directions of each class's samples, (S, C, F)."""
        of_class = F.one_hot(buffer.fields["labels"], self._problem.n_classes) * buffer.filled[..., None]
        directions = self._directions(buffer.fields["inputs"])
        return of_class.mT.to(directions.dtype) @ directions

    def _directions(self, inputs: Tensor) -> Tensor:
        """Return features of length 1, (S, N, F)."""
        with self._repeated():
            parts = [self.features(part, self.parameters, training=False) for part in inputs.split(PREDICTED_AT_ONCE, 1)]
        return F.normalize(torch.cat(parts, 1).float(), dim=2)
