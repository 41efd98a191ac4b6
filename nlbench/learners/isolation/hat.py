"""Hard attention to the task: each task learns which units it uses, and spares those that earlier ones used.

Source: Serrà et al. 2018 (arXiv 1801.01423), eq. 1-5 and section 2.4-2.6.

    h_l ← a_l h_l,  a_l = sigmoid(s e_l)        e the task's embedding of layer l, learned, within ±6
    s = 1/s_max + (s_max - 1/s_max) (b - 1)/(B - 1)    at step b of the B of a pass (`anneal`); s_max at test
    g_ij ← (1 - min(A_l,i, A_{l-1},j)) g_ij     A the largest gates of the tasks that ended; of the first layer, 1 - A_l,i
    g_e ← s_max (cosh(s e) + 1) / (s (cosh(e) + 1)) g_e
    L + sparsity Σ_l,i a_l,i (1 - A_l,i) / Σ_l,i (1 - A_l,i)

Gates are put before ReLU, which they pass as they are. A unit is a filter where layers are convolutions.

Told    when a task ends, and whose a sample is, also at test.
Stored  gates and a head a task.
Cost    two passes over the weights a step.
"""

from __future__ import annotations

from typing import ClassVar, Final

import torch
from torch import Tensor

from nlbench import seeds
from nlbench.batch import Batch, Problem
from nlbench.learners.gradient import GradientLearner
from nlbench.learners.isolation.config import HatConfig
from nlbench.learners.isolation.gates import gate, slope_at, spared
from nlbench.learners.units import readers
from nlbench.networks.network import Taps, Tree

BOUND: Final = 6.0
"""Of embeddings (section 2.5)."""


class Hat(GradientLearner):
    """Needs a network whose layers are a chain, each with a ReLU: `mlp`, `convolutional`."""

    needs: ClassVar[tuple[str, ...]] = ("boundaries", "task")

    def __init__(self, config: HatConfig, problem: Problem) -> None:
        self._steepness, self._sparsity, self._anneal = config.steepness, config.sparsity, config.anneal
        self.steps = 0
        """Of the present task."""
        self.slope = torch.full((), slope_at(0, config.anneal, config.steepness), device=problem.device)
        """s of the next step."""
        self.used: Tree = {}
        """(S, units) of each hidden layer: A."""
        self.task: int | None = None
        super().__init__(config, problem)

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        if not self.used:
            for name in readers(self.network, self.parameters, self.state, self._problem, "hat"):
                self.used[name] = torch.zeros_like(self.parameters[f"{name}.weight"].flatten(2)[..., 0])

    def observe(self, batch: Batch) -> Tensor:
        if batch.task != self.task:
            self.task = batch.task
            if not self._gated(batch.task):
                self.take_in({f"gate.{batch.task}.{name}": self._embedding(name, batch.task) for name in self.used})
        return super().observe(batch)

    def loss(self, batch: Batch) -> Tensor:
        gates = [self._gate(name, batch.task, self.slope) for name in self.used]
        free = [1 - used for used in self.used.values()]
        taken = torch.stack([(own * each).sum(1) for own, each in zip(gates, free, strict=True)]).sum(0)
        left = torch.stack([each.sum(1) for each in free]).sum(0).clamp(min=torch.finfo(torch.float32).tiny)
        return super().loss(batch) + self._sparsity * taken / left

    def logits(
        self, inputs: Tensor, task: int | None, *, training: bool, taps: Taps | None = None, parameters: Tree | None = None
    ) -> Tensor:
        """As without gates, for a task that was never learned."""
        slope = self.slope if training else torch.full_like(self.slope, self._steepness)

        def gated(name: str, x: Tensor, y: Tensor) -> Tensor:
            if name in self.used:
                y = y * self._gate(name, task, slope)[:, None].view(len(y), 1, -1, *[1] * (y.ndim - 3))
            return y if taps is None else taps(name, x, y)

        return super().logits(inputs, task, training=training, taps=gated if self._gated(task) else taps, parameters=parameters)

    def adjust(self, gradients: Tree) -> Tree:
        held = {name: gradients[name] * (1 - each) for name, each in spared(self.used, self.parameters).items()}
        return {**gradients, **held}

    def move(self, gradients: Tree) -> None:
        super().move(gradients)
        for name in self.used:
            self.parameters[f"gate.{self.task}.{name}"].clamp_(-BOUND, BOUND)

    def after_step(self, batch: Batch) -> None:
        self.steps += 1
        self.slope.fill_(slope_at(self.steps % self._anneal, self._anneal, self._steepness))

    @torch.no_grad()
    def end_task(self) -> None:
        for name, used in self.used.items():
            torch.maximum(used, self._gate(name, self.task, torch.full_like(self.slope, self._steepness)), out=used)
        for slots in self.slots.values():  # what is still in motion would move what is spared
            torch._foreach_zero_(list(slots.values()))
        self.steps = 0
        self.slope.fill_(slope_at(0, self._anneal, self._steepness))

    def held(self) -> list[Tensor]:
        return [*super().held(), self.slope, *self.used.values()]

    def _gated(self, task: int | None) -> bool:
        return all(f"gate.{task}.{name}" in self.parameters for name in self.used)

    def _gate(self, name: str, task: int | None, slope: Tensor) -> Tensor:
        return gate(self.parameters[f"gate.{task}.{name}"], slope, self._steepness)

    def _embedding(self, name: str, task: int | None) -> Tensor:
        """Return first values, from N(0, 1)."""
        drawn = seeds.normal(self._problem.seeds, f"init/gate.{task}.{name}", self.used[name].shape[1:])
        return torch.from_numpy(drawn).to(self._problem.device)
