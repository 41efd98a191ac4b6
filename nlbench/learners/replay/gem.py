"""Gradient episodic memory: a step goes against the gradient of no former task's stored samples.

Source: Lopez-Paz & Ranzato 2017 (arXiv 1706.08840), eq. 8-12. g is the batch's gradient, G the gradients of former tasks as
rows; where G g has a negative entry, g becomes g + Gᵀv with

    v = argmin over v ≥ margin of 1/2 vᵀ G Gᵀ v + (G g)ᵀ v

Told    when a task ends.
Stored  the newest samples of each task with labels and task, `capacity` in all, which the tasks share evenly.
Cost    a forward and a backward pass of all samples of former tasks a step, through a copy of the parameters for each, of
        which `COPIES` bounds the memory; G in memory; and a quadratic programme of as many unknowns as former tasks, solved on
        the host for each seed where a constraint is violated: too dear for long streams.

Tasks with as many samples pass together, each a copy of its seed; the ring leaves two such numbers where tasks are full. Where a
network has a state, running statistics or draws, they pass one after another and each moves it, as in the authors' programme.

Shapes: S seeds, k former tasks, n stored samples of each, P parameters.
"""

from __future__ import annotations

from collections import defaultdict
from typing import ClassVar, Final

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

COPIES: Final = 1 << 28
ON_CPU: Final = 1 << 21
"""Numbers in the copies of parameters that exist at once; a CPU is slower with more than its cache holds than with more passes,
of which each has one task at the least."""


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
        self._references = [self._former(batch, places) for places in self._places()] if self.ended else []
        return super().loss(batch)

    def _places(self) -> list[Tensor]:
        """Return where former tasks' samples are, (S, k, n) of those that pass together; those without any are left out."""
        tasks, order = torch.where(self.buffer.filled, self.buffer.fields["task"], self.ended).sort(dim=1, stable=True)
        ends = torch.searchsorted(tasks[0], torch.arange(1, self.ended + 1, device=tasks.device))  # the same in every seed
        parts = [places for places in order.tensor_split(ends.tolist(), 1)[:-1] if places.shape[1]]
        if self.state:
            return [places[:, None] for places in parts]
        alike: dict[int, list[Tensor]] = defaultdict(list)
        for places in parts:
            alike[places.shape[1]].append(places)
        room = ON_CPU if tasks.device.type == "cpu" else COPIES
        at_once = max(1, room // sum(value.numel() for value in self.parameters.values()))
        return [part for each in alike.values() for part in torch.stack(each, 1).split(at_once, 1)]

    def _former(self, batch: Batch, places: Tensor) -> Tree:
        """Return the gradients (S, k, …) of the mean over each task's samples at places (S, k, n)."""
        copies = places.shape[1]
        old = {name: each.view(-1, places.shape[2], *each.shape[2:]) for name, each in self.buffer.at(places.flatten(1)).items()}
        parameters = {name: each.detach().repeat_interleave(copies, 0) for name, each in self.parameters.items()}
        leaves = [each.requires_grad_() for each in parameters.values()]
        logits = self.logits(old["inputs"], None, training=True, parameters=parameters)
        losses = surprises(logits, old["labels"], competing(batch, old)).mean(1)
        found = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
        named = zip(parameters, found, strict=True)
        return {name: each.unflatten(0, (-1, copies)) for name, each in named if each is not None}

    def adjust(self, gradients: Tree) -> Tree:
        references, self._references = self._references, []  # between steps nothing is held
        if not references:
            return gradients
        g = torch.cat([each.flatten(1) for each in gradients.values()], 1)
        rows = [torch.cat([each[name].flatten(2) for name in gradients], 2) for each in references]
        against = rows[0] if len(rows) == 1 else torch.cat(rows, 1)  # (S, k, P)
        moved = g + torch.einsum("sk,skp->sp", self._multipliers(against, g), against)
        sizes = [each[0].numel() for each in gradients.values()]
        parts = zip(gradients.items(), moved.split(sizes, 1), strict=True)
        return {name: part.view_as(each) for (name, each), part in parts}

    def _multipliers(self, against: Tensor, g: Tensor) -> Tensor:
        """Return v (S, k); noughts where nothing is violated."""
        products = torch.cat([against @ against.mT, against @ g[..., None]], 2).double().cpu().numpy()
        found = [multipliers(each[:, :-1], each[:, -1], self._margin) for each in products]
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
