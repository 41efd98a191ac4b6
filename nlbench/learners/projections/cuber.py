"""CUBER: TRGP whose weights also move within what a related task spans, for as long as that seems to help it.

Source: Lin, Yang, Fan & Zhang 2022 (NeurIPS; arXiv 2211.00789), eq. 1-3 and algorithm 1. As in TRGP, R_t are the related tasks of
a layer, B_j their bases, and [W b] is W; g_j is the gradient of j's loss when it ended, g that of the present batch, W° is W when
task t began:

    P_t = { j in R_t:  g_j · g ≥ aligned |g_j| |g|  in this batch of t and in all before }
    W ← W - rate (h - h O_t O_tᵀ),   h = g + strength Σ_{j in P_t} ∇ |(W - W°) B_j B_jᵀ|,   O_t the bases of all tasks not in P_t

The paper takes the first gradient and the g_j of a batch; g_j is of the kept samples here. It does not say its strength.

Told    when a task ends; whose a sample is, at test too, as TRGP is.
Stored  beside TRGP's a gradient a task, and W°: T + 1 networks' worth.
Cost    that of TRGP, and two products of W - W° and O a layer.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.gradient import cross_entropy
from nlbench.learners.projections.config import CuberConfig
from nlbench.learners.projections.projection import grown, joint
from nlbench.learners.projections.trgp import Trgp
from nlbench.networks.network import Tree


class Cuber(Trgp):
    """Moves what former tasks learned where their gradients point the same way."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries", "task")

    def __init__(self, config: CuberConfig, problem: Problem) -> None:
        self._aligned, self._strength = config.aligned, config.strength
        self.past: Tree = {}
        """{layer: (S, T, O, D)}: g_j; of the present task noughts."""
        self.lengths: Tree = {}
        """{layer: (S, T)}: |g_j|, which a step would read all of `past` for."""
        self.start: Tree = {}
        """{layer: (S, O, D)}: W°."""
        self.helped: Tree = {}
        """{layer: (S, T) bool}: P_t."""
        self.classes = torch.ones(problem.n_classes, dtype=torch.bool, device=problem.device)
        """(C,) bool: those that competed in the last batch."""
        super().__init__(config, problem)

    def forbidden(self, layer: str, whole: Tensor, along: Tensor) -> Tensor:
        past, bases, axes = self.past[layer], self.bases[layer], self.matrices[layer]
        length = whole.square().sum((1, 2), keepdim=True)[..., 0].sqrt()
        agrees = (past.flatten(2) @ whole.flatten(1)[..., None])[..., 0] >= self._aligned * self.lengths[layer] * length
        helped = self.helped[layer].copy_((self.trusted if self.first_batch else self.helped)[layer] & agrees)[..., None]
        others = (bases & ~helped).any(1)[:, None]
        moved = (joint(self.parameters, layer) - self.start[layer]) @ axes
        distances = (bases.float() @ moved.square().sum(1)[..., None]).sqrt()  # (S, T, 1)
        pull = (bases * helped / distances.clamp(min=torch.finfo(distances.dtype).tiny)).sum(1)[:, None]
        # where others lie nothing moves: what is there is rounding, of which a norm's gradient would make a whole step
        return torch.where(others, along, -self._strength * moved * pull)

    def begin(self, layers: list[str]) -> None:
        super().begin(layers)
        for layer in layers:
            self.start[layer] = joint(self.parameters, layer).detach().clone()
            self.past[layer] = grown(self.past, layer, torch.zeros_like(self.start[layer])[:, None])
            self.lengths[layer] = self.past[layer].square().sum((2, 3)).sqrt()
            self.helped[layer] = torch.zeros_like(self.trusted[layer])

    def after_step(self, batch: Batch) -> None:
        super().after_step(batch)
        self.classes.copy_(batch.classes)

    def end_task(self) -> None:
        old = self.samples()
        with torch.enable_grad(), self._repeated():
            logits = self.logits(old["inputs"], self.task, training=False)
            gradients = self.gradients(cross_entropy(logits, old["labels"], self.classes))
        for layer, past in self.past.items():
            past[:, -1] = joint(gradients, layer)
        super().end_task()

    def held(self) -> list[Tensor]:
        return [*super().held(), *(each for kind in (self.past, self.lengths, self.start, self.helped) for each in kind.values())]
