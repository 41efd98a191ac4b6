"""ER with asymmetric cross-entropy: new samples do not push the classes of old ones away.

Source: Caccia et al. 2022 (arXiv 2104.05025), eq. 4.

    L(θ) = CE(drawn, all classes that compete) + CE(batch, classes that occur in it)

Told    nothing about tasks.
Stored  a reservoir of `capacity` samples with labels.
Cost    that of experience replay.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Batch
from nlbench.learners.replay.rehearsal import Rehearsal, competing, surprises


class ErAce(Rehearsal):
    """Learns the batch among its own classes, drawn samples among all."""

    def loss(self, batch: Batch) -> Tensor:
        own = torch.zeros_like(batch.labels[:, :1]).expand(-1, len(batch.classes)).bool()
        own = own.scatter(1, batch.labels, True)[:, None]  # (S, 1, C)
        if self.buffer.empty:
            return surprises(self.logits(batch.inputs, None, training=True), batch.labels, own).mean(1)
        old = self.buffer.sample(self.drawn(batch))
        new_logits, old_logits = self.together(batch, old)
        new = surprises(new_logits, batch.labels, own)
        return new.mean(1) + surprises(old_logits, old["labels"], competing(batch, old)).mean(1)
