"""In-context learning at its plainest: no weight changes, the last samples stay in sight and are attended to.

    p(c | x) = Σ_i a_i [y_i = c],    a = softmax_i(sharpness ⟨x̂, x̂_i⟩)

over the last `window` samples i; x̂ is x at unit length. It is one head of softmax attention whose keys are the samples and whose
values are their labels: what a transformer can do with labelled samples in its context. What leaves the window is forgotten.

Source: Garg et al. 2022 (arXiv 2208.01066), in-context learning of functions, here by one head that is given; as the rival of
continual learning in weights Behrouz et al. 2025 (arXiv 2512.24695), section 9.1.

Told    nothing beyond batches.
Stored  `window` samples with their labels, billed as samples.
Cost    none to learn; window · D multiply-adds a prediction.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Batch, Billed, Learner, Problem
from nlbench.learners.config import InContextConfig

PREDICTED_AT_ONCE = 500
"""Samples: the attention of all seeds to a window takes far more room than the samples."""


class Window(Billed):
    """The last samples, oldest first: keys (S, K, D) of unit length and labels (S, K)."""

    def __init__(self, seeds: int, width: int, device: torch.device) -> None:
        self.keys = torch.zeros(seeds, 0, width, device=device)
        self.labels = torch.zeros(seeds, 0, dtype=torch.int64, device=device)

    def add(self, keys: Tensor, labels: Tensor, room: int) -> None:
        """Take in keys (S, B, D) and labels (S, B); of more than `room`, the oldest leave."""
        self.keys = torch.cat([self.keys, keys], 1)[:, -room:]
        self.labels = torch.cat([self.labels, labels], 1)[:, -room:]

    def memory_bytes(self) -> dict[str, int]:
        return {"samples": (self.keys.nbytes + self.labels.nbytes) // len(self.keys)}


class InContext(Learner):
    """Attends to the last samples; before the first one, every class is as likely."""

    def __init__(self, config: InContextConfig, problem: Problem) -> None:
        self._config, self._classes = config, problem.n_classes
        self.window = Window(len(problem.seeds), problem.n_inputs, problem.device)

    def observe(self, batch: Batch) -> Tensor:
        """Take the batch into the window; the loss is that of answering it from what was there before."""
        loss = -self.predict(batch.inputs, batch.task).gather(-1, batch.labels[..., None]).mean((1, 2))
        keys = F.normalize(batch.inputs.flatten(2), dim=-1).expand(len(batch.labels), -1, -1)
        self.window.add(keys, batch.labels, self._config.window)
        return loss

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return torch.cat([self._answers(part) for part in inputs.split(PREDICTED_AT_ONCE, dim=1)], 1)

    def _answers(self, inputs: Tensor) -> Tensor:
        """Return log p(c | x) (S, N, C), a class out of sight least."""
        values = F.one_hot(self.window.labels, self._classes).to(inputs.dtype)
        if not values.shape[1]:
            return inputs.new_zeros(len(values), inputs.shape[1], self._classes).log_softmax(-1)
        alike = F.normalize(inputs.flatten(2), dim=-1) @ self.window.keys.mT
        shares = (self._config.sharpness * alike).softmax(-1) @ values
        return shares.clamp_min(torch.finfo(shares.dtype).tiny).log()
