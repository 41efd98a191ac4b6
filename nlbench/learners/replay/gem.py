"""Gradient episodic memory: a step goes against the gradient of no former task's stored samples.

Source: Lopez-Paz & Ranzato 2017 (arXiv 1706.08840), eq. 8-12. g is the batch's gradient, G the gradients of former tasks as
rows; where G g has a negative entry, g becomes g + Gᵀv with

    v = argmin over v ≥ margin of 1/2 vᵀ G Gᵀ v + (G g)ᵀ v

Told    when a task ends.
Stored  the newest samples of each task with labels and task, `capacity` in all, which the tasks share evenly.
Cost    forward and backward passes of all samples of former tasks a step, G in memory (a network's worth for each), and a
        quadratic programme of as many unknowns as former tasks, solved on the host for each seed where a constraint is
        violated: too dear for long streams.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.replay.config import GemConfig
from nlbench.learners.replay.rehearsal import Rehearsal, competing, surprises
from nlbench.networks.network import Tree

EASED = 1e-3
"""Added to the diagonal of G Gᵀ, in units of its mean, so that gradients that are not independent have a solution."""


class Gem(Rehearsal):
    """Projects each gradient on what raises no former task's loss."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries",)
    captured = False  # the quadratic programme is solved on the host

    def __init__(self, config: GemConfig, problem: Problem) -> None:
        self._margin = config.margin
        self.ended = 0
        """Tasks that ended."""
        self._references: list[Tree] = []
        task = torch.empty((), dtype=torch.int64)
        super().__init__(config, problem, policy="ring", groups="task", extras={"task": task})

    def loss(self, batch: Batch) -> Tensor:
        for task in range(self.ended):
            there = self.buffer.filled & (self.buffer.fields["task"] == task)
            places = there.nonzero()[:, 1].view(len(there), -1)  # of a task as many in every seed
            if not places.numel():
                continue
            old = self.buffer.at(places)
            logits = self.logits(old["inputs"], None, training=True)
            self._references.append(self.gradients(surprises(logits, old["labels"], competing(batch, old)).mean(1)))
        return super().loss(batch)

    def adjust(self, gradients: Tree) -> Tree:
        references, self._references = self._references, []  # between steps nothing is held
        if not references:
            return gradients
        g, *rows = (torch.cat([each[name].flatten(1) for name in gradients], 1) for each in (gradients, *references))
        against = torch.stack(rows, 1)  # (S, k, P)
        moved = g + torch.einsum("sk,skp->sp", self._multipliers(against, g), against)
        sizes = [each[0].numel() for each in gradients.values()]
        parts = zip(gradients.items(), moved.split(sizes, 1), strict=True)
        return {name: part.view_as(each) for (name, each), part in parts}

    def _multipliers(self, against: Tensor, g: Tensor) -> Tensor:
        """Return v (S, k); noughts where nothing is violated."""
        grams, along = (against @ against.mT).double().cpu().numpy(), (against @ g[..., None])[..., 0].double().cpu().numpy()
        found = [multipliers(gram, own, self._margin) for gram, own in zip(grams, along, strict=True)]
        return torch.tensor(np.array(found), dtype=g.dtype, device=g.device)

    def extras(self, batch: Batch) -> Tree:
        return {**super().extras(batch), "task": torch.full_like(batch.labels, self.ended)}

    def end_task(self) -> None:
        self.ended += 1


def multipliers(gram: NDArray[np.float64], along: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
    """Return the v ≥ margin (k,) of least 1/2 vᵀ gram v + alongᵀ v, with an eased gram; noughts where along ≥ 0.

    With gram = L Lᵀ and v = margin + w, w is of least |Lᵀ w + L⁻¹ (gram margin + along)| over w ≥ 0: active sets find it.
    """
    if (along >= 0).all():
        return np.zeros_like(along)
    gram = gram + EASED * np.trace(gram) / len(gram) * np.eye(len(gram))
    factor = np.linalg.cholesky(gram)
    shifted = np.linalg.solve(factor, gram @ np.full_like(along, margin) + along)
    return margin + nnls(factor.T, -shifted)[0]
