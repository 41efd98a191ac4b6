"""Gradient projection memory (GPM): steps across what samples of earlier tasks span, layer by layer.

Source: Saha, Garg & Roy 2021 (arXiv 2103.09762), eq. 4-9; thresholds and samples of their published code of permuted MNIST.

    R: what a layer sees of samples of the task that ended, one a column, with a 1 for its bias
    R̂ = R - M Mᵀ R = U Σ Vᵀ
    M ← [M u_1 … u_k], the least k with |M Mᵀ R|² + Σ_{i ≤ k} σ_i² ≥ threshold |R|²
    [W b] ← [W b] - rate ∇[W b] (I - M Mᵀ)

Told    when a task ends.
Stored  M Mᵀ of every layer, 4 D² bytes for D inputs; up to `samples` of the present task, until it ends.
Cost    O D² multiply-adds a layer of O outputs beside a plain step; at a task's end a singular value decomposition of each R.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.buffer import Buffer
from nlbench.learners.projections.config import SpanConfig
from nlbench.learners.projections.projection import Projecting, projected
from nlbench.learners.projections.spanning import span
from nlbench.networks.network import Tree


class Gpm(Projecting):
    """Steps across what samples of earlier tasks span."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries",)

    def __init__(self, config: SpanConfig, problem: Problem) -> None:
        self._config = config
        self._problem = problem
        self.ended = 0
        """Tasks that ended."""
        self.kept = self._empty()
        self.task: int | None = None
        super().__init__(config, problem)

    def first(self, seeds: int, width: int) -> Tensor:
        return torch.zeros(seeds, width, width)

    def adjust(self, gradients: Tree) -> Tree:
        found = dict(gradients)
        for layer in self.seen:
            known = projected(gradients, layer, self.matrices[layer])
            found |= {name: gradients[name] - value for name, value in known.items()}
        self.seen = {}
        return found

    def after_step(self, batch: Batch) -> None:
        self.kept.add(batch.inputs, batch.labels)
        self.task = batch.task

    @torch.no_grad()
    def end_task(self) -> None:
        with self._repeated():
            self.logits(self.samples()["inputs"], self.task, training=False, taps=self.note)
        thresholds = [*self._config.thresholds, *[self._config.thresholds[-1]] * len(self.seen)]
        for (layer, rows), threshold in zip(self.seen.items(), thresholds, strict=False):
            self.span(layer, rows.flatten(1, -2), threshold)
        self.seen = {}
        self.ended += 1
        self.kept = self._empty()

    def samples(self) -> Tree:
        """Return the kept samples of the present task: inputs (S, N, …) and labels (S, N)."""
        count = min(self.kept.added, self.kept.capacity)
        return self.kept.at(self.kept.filled.int().topk(count, 1).indices)

    def span(self, layer: str, rows: Tensor, threshold: float) -> None:
        """Take up what a layer saw of the task that ended, rows (S, N, D)."""
        span(self.matrices[layer], rows, threshold)

    def _empty(self) -> Buffer:
        return Buffer(self._config.samples, self._problem, name=f"present-task/{self.ended}")
