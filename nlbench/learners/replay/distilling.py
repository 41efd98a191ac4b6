"""What methods share that store samples and keep the network as it was when the last task ended.

Shapes: S seeds, B samples, C classes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Problem
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
        self.previous: Tree = {}
        """Parameters when the last task ended; none before."""
        self.previous_state: Tree = {}
        super().__init__(config, problem, **buffer)

    def held(self) -> list[Tensor]:
        return [*super().held(), self.known, self.met, *self.previous.values(), *self.previous_state.values()]

    def meet(self, batch: Batch) -> None:
        """Note which classes a batch shows."""
        self.met.scatter_(1, batch.labels, True)

    @torch.no_grad()
    def before(self, inputs: Tensor) -> Tensor:
        """Return the logits (S, B, C) of the network before."""
        with self._rounded():
            features, _ = self.network.apply(self.previous, self.previous_state, inputs, training=False)
            return self.head.logits(self.previous, features, None).float()

    @torch.no_grad()
    def end_task(self) -> None:
        """Keep the network as it is now; what the task showed is old from now on."""
        self.previous = {name: value.detach().clone() for name, value in self.parameters.items()}
        self.previous_state = {name: value.clone() for name, value in self.state.items()}
        self.known |= self.met
        self.met.zero_()
