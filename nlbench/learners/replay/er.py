"""Experience replay: each batch is learned together with stored samples.

Source: Chaudhry et al. 2019 (arXiv 1902.10486), alg. 1 and 2; Riemer et al. 2019 (arXiv 1810.11910), alg. 4.

    L(θ) = mean over batch ∪ drawn of -log softmax(f_θ(x))_y

Told    nothing about tasks.
Stored  `capacity` samples with labels: a reservoir, as many of each class, or the newest of each class.
Cost    a forward and a backward pass of the drawn samples more a step.
"""

from __future__ import annotations

from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.replay.config import ErConfig
from nlbench.learners.replay.rehearsal import Rehearsal, joined


class Er(Rehearsal):
    """Learns batch and drawn samples as one batch."""

    def __init__(self, config: ErConfig, problem: Problem) -> None:
        self._stratified = config.stratified
        super().__init__(config, problem, policy=config.policy)

    def loss(self, batch: Batch) -> Tensor:
        if self.buffer.empty:
            return super().loss(batch)
        old = self.buffer.sample(self.drawn(batch), stratified=self._stratified)
        return super().loss(joined(batch, old))
