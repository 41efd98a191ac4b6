"""What methods share that store samples and keep the network as it was when the last task ended.

Shapes: S seeds, B samples, C classes.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
from nlbench.learners.former import Former
from nlbench.learners.replay.config import ReplayConfig
from nlbench.learners.replay.rehearsal import Rehearsal
from nlbench.networks.network import Tree


class Distilling(Rehearsal):
    """A network, samples, and the network before; which classes are old, and which the task at hand has shown."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries",)

    def __init__(self, config: ReplayConfig, problem: Problem, **buffer: Any) -> None:
        self.known = torch.zeros(len(problem.seeds), problem.n_classes, dtype=torch.bool, device=problem.device)
        """(S, C): labels met in tasks that ended."""
        self.met = self.known.clone()
        """(S, C): labels met in the task at hand."""
        self.former = Former()
        super().__init__(config, problem, **buffer)

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        self.former.take_in(parameters, self.state)

    def phase(self) -> Hashable:
        return super().phase(), self.former.there

    def held(self) -> list[Tensor]:
        return [*super().held(), self.known, self.met, *self.former.held()]

    def meet(self, batch: Batch) -> None:
        """Note which classes a batch shows."""
        self.met.scatter_(1, batch.labels, True)

    @torch.no_grad()
    def before(self, inputs: Tensor) -> Tensor:
        """Return the logits (S, B, C) of the network before."""
        with self._rounded():
            features, _ = self.network.apply(self.former.parameters, self.former.state, inputs, training=False)
            return self.head.logits(self.former.parameters, features, None).float()

    @torch.no_grad()
    def end_task(self) -> None:
        """Keep the network as it is now; what the task showed is old from now on."""
        self.former.keep(self.parameters, self.state)
        self.known |= self.met
        self.met.zero_()
