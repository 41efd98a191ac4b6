"""The lower bound: the most frequent label so far, whatever the input."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Learner, Problem
from nlbench.learners.config import ChanceConfig


class Chance(Learner):
    """Counts labels. What it scores is what a learner that ignores its input can score."""

    exempt: ClassVar[dict[str, str]] = {"beside chance": "it is the bound", "beside naive": "it is the bound"}

    def __init__(self, config: ChanceConfig, problem: Problem) -> None:
        self.counts = torch.zeros(len(problem.seeds), problem.n_classes, device=problem.device)

    def observe(self, batch: Batch) -> Tensor:
        """Count the labels; the loss is that of predicting their shares so far, every label counted once in advance."""
        shares = (self.counts + 1) / (self.counts + 1).sum(-1, keepdim=True)
        loss = -shares.log().gather(1, batch.labels).mean(1)
        self.counts.scatter_add_(1, batch.labels, torch.ones_like(batch.labels, dtype=self.counts.dtype))
        return loss

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return self.counts[:, None].expand(-1, inputs.shape[1], -1)

    def permute_inputs(self, order: Tensor) -> None:
        """Nothing here depends on the inputs."""

    def memory_bytes(self) -> dict[str, int]:
        return {"parameters": self.counts.nbytes // len(self.counts)}
