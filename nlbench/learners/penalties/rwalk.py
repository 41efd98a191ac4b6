"""Riemannian walk: weights are held by a running Fisher information, and by what their ways did for the loss.

Source: Chaudhry et al. 2018 (arXiv 1801.10112), eq. 8-10; min-max normalisation and the squares of a batch's mean gradient as in
the authors' code (facebookresearch/agem).

    ω_i ← ω_i - g_i Δθ_i, q_i ← q_i + g_i²                                         each step, g as in `si`
    s_i ← s_i + max(0, ω_i) / (F_i (θ_i - θ°_i)² / 2 + damping)                    every `every` steps; then θ° ← θ, ω ← 0
    F_i ← α q_i / every + (1 - α) F_i, q ← 0                                       α = `forget`
    S ← s after the first task, (S + s) / 2 after others; s ← 0
    Ω = F normalised + S normalised, each to [0, 1] over the whole network; θ* ← θ when a task ends
    L(θ) + strength Σ_i Ω_i (θ_i - θ*_i)²

With `scores = false`, Ω = F normalised: EWC++ (section 4.1), "EWC" in tables of the same authors (arXiv 1812.00420).

Told    when a task ends.
Stored  Ω, θ*, F, q, ω, θ°, s and S, eight networks' worth; no sample.
Cost    seven passes over the weights a step, and every `every` steps ten more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.penalties.config import RwalkConfig
from nlbench.learners.penalties.quadratic import QuadraticPenalty
from nlbench.learners.penalties.si import add_work
from nlbench.networks.network import Tree


class Rwalk(QuadraticPenalty):
    """Importances are Fisher information and scores, both normalised."""

    def __init__(self, config: RwalkConfig, problem: Problem) -> None:
        self._every, self._newest, self._damping = config.every, config.forget, config.damping
        self._scored = config.scores
        self.fisher: Tree = {}
        self.squares: Tree = {}
        """q: of the batches' gradients since the last update."""
        self.work: Tree = {}
        """ω since the last update."""
        self.start: Tree = {}
        """θ°: weights at the last update."""
        self.scores: Tree = {}
        """s, of the present task."""
        self.averaged: Tree = {}
        """S, of the tasks that ended."""
        self.steps = 0
        """Of the present task."""
        self.ended = 0
        """Tasks that ended."""
        super().__init__(config, problem)

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        for name, value in parameters.items():
            for tree in (self.fisher, self.squares, self.work, self.scores, self.averaged):
                tree[name] = torch.zeros_like(value)
            self.start[name] = value.detach().clone()

    def move(self, gradients: Tree) -> None:
        before = {name: self.parameters[name].detach().clone() for name in gradients}
        super().move({name: value.clone() for name, value in gradients.items()})  # the penalty is added in place
        add_work(self.work, gradients, before, self.parameters)
        torch._foreach_addcmul_([self.squares[name] for name in gradients], list(gradients.values()), list(gradients.values()))

    @torch.no_grad()
    def after_step(self, batch: Batch) -> None:
        self.steps += 1
        if self.steps % self._every:
            return
        newest = self._newest if self.ended or self.steps > self._every else 1.0
        for name, value in self.parameters.items():
            way = self.fisher[name] * (value - self.start[name]).square() / 2
            self.scores[name].add_(self.work[name].clamp(min=0) / (way + self._damping))
            self.fisher[name].lerp_(self.squares[name] / self._every, newest)
        self._restart()

    @torch.no_grad()
    def end_task(self) -> None:
        for name, score in self.scores.items():
            self.averaged[name].lerp_(score, 0.5 if self.ended else 1.0)
            score.zero_()
        found = normalised(self.fisher)
        if self._scored:
            scores = normalised(self.averaged)
            found = {name: fisher + scores[name] for name, fisher in found.items()}
        self.consolidate(found, keep=0.0)
        self.ended += 1
        self.steps = 0
        self._restart()

    def _restart(self) -> None:
        """Count work and squares anew from here."""
        for name, value in self.parameters.items():
            self.start[name].copy_(value)
            self.work[name].zero_()
            self.squares[name].zero_()

    def held(self) -> list[Tensor]:
        return [*super().held(), *self.work.values(), *self.squares.values()]


def normalised(tree: Tree) -> Tree:
    """Return the values of each seed, shifted and scaled to [0, 1] over all tensors."""
    least, most = torch.cat([value.flatten(1) for value in tree.values()], 1).aminmax(dim=1)
    span = (most - least).clamp(min=torch.finfo(most.dtype).tiny)
    shapes = {name: (-1, *[1] * (value.ndim - 1)) for name, value in tree.items()}
    return {name: (value - least.view(shapes[name])) / span.view(shapes[name]) for name, value in tree.items()}
