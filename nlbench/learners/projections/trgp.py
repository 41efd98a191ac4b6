"""Trust region gradient projection (TRGP): as GPM, and weights are scaled anew along what related tasks span.

Source: Lin, Yang, Fan & Zhang 2022 (arXiv 2202.02931), eq. 3-8. B_j is the basis of what a layer saw of a former task j,
Q_jt a matrix that task t learns and keeps, from the identity on; of each layer W is [W b]:

    R_t  the tasks, `related` at most, with the largest |G B_j B_jᵀ| > sufficient |G|, G the gradient of the first batch of t
    W_t = W + Σ_{j in R_t} W B_j (Q_jt - I) B_jᵀ        what t is learned and answered with
    W   ← W - rate (∇W - ∇W O Oᵀ),  Q_jt ← Q_jt - rate ∇Q_jt
    O   ← [O u_1 …]  and  B_t ⊂ O: of the columns of O and of the left singular vectors of R - O Oᵀ R those with most of what t
         saw, R, until they have the threshold's share of |R|²

Every B_j holds columns of one O, so a task's matrices are one, C_t = Σ_j B_jᵀ-wise (Q_jt - I), (D, D) in the coordinates of O:
W_t = W (I + O C_t Oᵀ); by SGD it learns as they do. R is what the layers see with C_t, here and at test; their programme leaves
it out there. G is of one batch, as samples are shown once.

Told    when a task ends; whose a sample is, at test too: C_t is the task's own.
Stored  O of every layer and C_t of every task, 4 (T + 1) D² bytes for D inputs; up to `samples` of the present task.
Cost    beside GPM's 3 B D² multiply-adds a layer forward for B samples, and twice that backward.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.gradient import GradientLearner
from nlbench.learners.heads import LAYER
from nlbench.learners.projections.config import CuberConfig, TrgpConfig
from nlbench.learners.projections.gpm import Gpm
from nlbench.learners.projections.projection import grown, joint, parted
from nlbench.learners.projections.spanning import extended, most_spanned
from nlbench.networks.network import Taps, Tree


class Trgp(Gpm):
    """Steps across what former tasks span; along it, scales what related ones learned. `matrices` are O, then noughts."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries", "task")

    def __init__(self, config: TrgpConfig | CuberConfig, problem: Problem) -> None:
        self._related, self._sufficient = config.related, config.sufficient
        self.bases: Tree = {}
        """{layer: (S, T, D) bool}: the columns of O that are each task's basis; of the present one, the last, none."""
        self.trusted: Tree = {}
        """{layer: (S, T) bool}: the tasks related to the present one."""
        super().__init__(config, problem)

    @property
    def first_batch(self) -> bool:
        """Whether the next batch is the first of a task that has former ones."""
        return self.ended > 0 and self.kept.added == 0

    def observe(self, batch: Batch) -> Tensor:
        self.task = batch.task
        # a task's own head answers to no other: there is nothing to spare, and nothing to scale
        layers = [layer for layer in self.matrices if not layer.startswith(f"{LAYER}.")]
        if self.first_batch or scale(self.task, layers[0]) not in self.parameters:
            self.begin(layers)
        return super().observe(batch)

    def begin(self, layers: list[str]) -> None:
        """Make room for what a task keeps of these layers, as it begins."""
        for layer in layers:
            axes, name = self.matrices[layer], scale(self.task, layer)
            if name not in self.parameters:
                GradientLearner.take_in(self, {name: torch.zeros_like(axes)})
            self.bases[layer] = grown(self.bases, layer, axes.new_zeros(len(axes), 1, axes.shape[2], dtype=torch.bool))
            self.trusted[layer] = torch.zeros_like(self.bases[layer][..., 0])

    def phase(self) -> Hashable:
        return self.ended, self.first_batch

    def logits(
        self, inputs: Tensor, task: int | None, *, training: bool, taps: Taps | None = None, parameters: Tree | None = None
    ) -> Tensor:
        def scaled(layer: str, x: Tensor, y: Tensor) -> Tensor:
            if self.ended and (name := scale(task, layer)) in self.parameters:
                seen, axes = self.met(layer, x, y), self.matrices[layer]
                along = seen.flatten(1, -2) @ axes @ self.parameters[name].mT @ axes.mT @ joint(self.parameters, layer).mT
                along = along.unflatten(1, seen.shape[1:-1])
                y = y + (along.mT.reshape(y.shape) if y.ndim > 3 else along)
            return y if taps is None else taps(layer, x, y)

        return super().logits(inputs, task, training=training, taps=scaled, parameters=parameters)

    def adjust(self, gradients: Tree) -> Tree:
        found = dict(gradients)
        for layer in self.seen.keys() & self.bases.keys() if self.ended else ():
            axes, whole = self.matrices[layer], joint(gradients, layer)
            along = whole @ axes
            if self.first_batch:
                self.trusted[layer].copy_(most_spanned(self.bases[layer], whole, along, self._related, self._sufficient))
            found |= parted(whole - self.forbidden(layer, whole, along) @ axes.mT, gradients, layer)
            bases = self.bases[layer].float()
            found[scale(self.task, layer)] *= (bases * self.trusted[layer][..., None]).mT @ bases
        self.seen = {}
        return found

    def forbidden(self, layer: str, whole: Tensor, along: Tensor) -> Tensor:
        """Return what is taken from a layer's gradient, `whole` (S, O, D), in the coordinates of O, in which it is `along`."""
        return along

    def span(self, layer: str, rows: Tensor, threshold: float) -> None:
        if layer in self.bases:
            axes, chosen = extended(self.matrices[layer], rows, threshold)
            self.matrices[layer].copy_(axes)
            self.bases[layer][:, -1] = chosen

    def held(self) -> list[Tensor]:
        return [*super().held(), *self.bases.values(), *self.trusted.values()]


def scale(task: int | None, layer: str) -> str:
    """Return the name of C of a task and a layer among the parameters."""
    return f"scale.{task}.{layer}"
