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
from nlbench.learners.projections.config import GpmConfig
from nlbench.learners.projections.projection import Projecting, projected
from nlbench.networks.network import Tree


class Gpm(Projecting):
    """Steps across what samples of earlier tasks span."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries",)

    def __init__(self, config: GpmConfig, problem: Problem) -> None:
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
        self.kept.add(batch.inputs.expand(len(batch.labels), *batch.inputs.shape[1:]), batch.labels)
        self.task = batch.task

    @torch.no_grad()
    def end_task(self) -> None:
        count = min(self.kept.added, self.kept.capacity)
        inputs = self.kept.at(self.kept.filled.int().topk(count, 1).indices)["inputs"]
        with self._repeated():
            self.logits(inputs, self.task, training=False, taps=self.note)
        thresholds = [*self._config.thresholds, *[self._config.thresholds[-1]] * len(self.seen)]
        for (layer, rows), threshold in zip(self.seen.items(), thresholds, strict=False):
            span(self.matrices[layer], rows.flatten(1, -2), threshold)
        self.seen = {}
        self.ended += 1
        self.kept = self._empty()

    def _empty(self) -> Buffer:
        return Buffer(self._config.samples, self._problem, name=f"present-task/{self.ended}")


def span(known: Tensor, rows: Tensor, threshold: float) -> None:
    """Add to known, (S, D, D) M Mᵀ, in place, the fewest directions with which it spans the share `threshold` of rows (S, N, D).

    In float64. Cost: of a singular value decomposition of min(N, D) by D.
    """
    rows = rows.double()
    if rows.shape[1] > rows.shape[2]:
        rows = torch.linalg.qr(rows, mode="r").R
    total = rows.square().sum((1, 2))
    left = rows - rows @ known.double()
    values, directions = torch.linalg.svd(left, full_matrices=False)[1:]
    energies = values.square()
    spanned_before = total[:, None] - energies.sum(1, keepdim=True) + energies.cumsum(1) - energies
    taken = directions * (spanned_before < threshold * total[:, None])[..., None]
    known.add_((taken.mT @ taken).to(known.dtype))
