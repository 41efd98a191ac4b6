"""Continual backprop: hidden units of least use are replaced by new ones, a few at a time, for as long as learning goes on.

Source: Dohare et al. 2024 (Nature 632, 768; arXiv 2306.13812), eq. 1 and alg. 1.

    u ← decay u + (1 - decay) |h| Σ_k |w_out,k|        each hidden unit, |h| its mean over the batch, and over places of an image
    c ← c + replaced · (mature units of the layer)     each step; for every whole one in c, c ← c - 1 and
    the mature unit of least u: w_in drawn anew, w_out ← 0, u ← 0, age ← 0, the optimizer's memory of both ← 0

A unit is a filter where layers are convolutions. Bias and weights of a new unit are uniform with the standard deviation that its
layer's weights had at the start.

Told    nothing.
Stored  a number or two a unit.
Cost    a pass over the weights and the hidden units a step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench import seeds
from nlbench.batch import Batch, Problem
from nlbench.learners.gradient import cross_entropy
from nlbench.learners.plasticity.config import ContinualBackpropConfig
from nlbench.learners.plasticity.magnitude import Measured
from nlbench.learners.units import outgoing, readers, renew
from nlbench.networks.network import Tree


class ContinualBackprop(Measured):
    """Needs a network whose layers are a chain, each with a ReLU: `mlp`, `convolutional`."""

    def __init__(self, config: ContinualBackpropConfig, problem: Problem) -> None:
        self._replaced, self._maturity, self._decay = config.replaced, config.maturity, config.decay
        self.steps = 0
        self.activity: dict[str, Tensor] = {}
        """(S, units) of each hidden layer: the mean output of the last batch."""
        self.utilities: dict[str, Tensor] = {}
        self.born: dict[str, Tensor] = {}
        """(S, units): the step before a unit's first."""
        self.due: dict[str, float] = {}
        self.renewed: dict[str, list[int]] = {}
        """Steps at which a unit was replaced and is not mature yet; of every seed the same."""
        self.counts: dict[str, int] = {}
        self.spread: dict[str, Tensor] = {}
        """(S,): the standard deviation of a layer's first weights."""
        self.readers: dict[str, str] = {}
        """The layer that reads each hidden one."""
        super().__init__(config, problem)

    def take_in(self, parameters: Tree) -> None:
        super().take_in(parameters)
        if self.readers:  # these are a head's
            return
        self.readers = readers(self.network, self.parameters, self.state, self._problem, "continual-backprop")
        for name in self.readers:
            values = self.parameters[f"{name}.weight"].detach()
            self.activity[name], self.utilities[name] = values.new_zeros(values.shape[:2]), values.new_zeros(values.shape[:2])
            self.born[name] = torch.zeros(values.shape[:2], dtype=torch.int64, device=values.device)
            self.due[name], self.renewed[name], self.counts[name] = 0.0, [], 0
            self.spread[name] = values.flatten(1).std(1)

    def loss(self, batch: Batch) -> Tensor:
        logits = self.logits(batch.inputs, batch.task, training=True, taps=self._tap)
        return cross_entropy(logits, batch.labels, batch.classes)

    def move(self, gradients: Tree) -> None:
        super().move(gradients)
        for name, utility in self.utilities.items():
            read = [weight.abs().sum((1, 3)) for weight in outgoing(self.parameters, self.readers[name], utility.shape[1])]
            utility.lerp_(self.activity[name] * torch.stack(read).sum(0), 1 - self._decay)

    @torch.no_grad()
    def after_step(self, batch: Batch) -> None:
        self.steps += 1
        for name, utility in self.utilities.items():
            young = self.renewed[name] = [step for step in self.renewed[name] if self.steps - step <= self._maturity]
            mature = utility.shape[1] - len(young) if self.steps > self._maturity else 0
            self.due[name] += self._replaced * mature
            while self.due[name] >= 1:
                self._replace(name)
                self.due[name] -= 1

    def diagnostics(self) -> dict[str, Tensor]:
        """Beside the weights' size, the share of hidden units that the last batch did not wake."""
        dead = torch.cat([activity == 0 for activity in self.activity.values()], 1)
        return {**super().diagnostics(), "units.dead": dead.double().mean(1)}

    def held(self) -> list[Tensor]:
        return [*super().held(), *self.activity.values(), *self.utilities.values()]

    def _tap(self, name: str, x: Tensor, y: Tensor) -> Tensor:
        if name in self.activity:
            with torch.no_grad():
                self.activity[name].copy_(y.relu().transpose(1, 2).flatten(2).mean(2))
        return y

    def _replace(self, name: str) -> None:
        """Replace the mature unit of least use, of each seed its own."""
        self.counts[name] += 1
        self.renewed[name].append(self.steps)
        weight, utility, reader = self.parameters[f"{name}.weight"], self.utilities[name], self.readers[name]
        young = self.steps - self.born[name] <= self._maturity
        unit = utility.masked_fill(young, torch.inf).argmin(1)
        shape = (weight[0, 0].numel() + 1,)
        drawn = seeds.uniform(self._problem.seeds, f"learner/unit/{name}/{self.counts[name]}", shape, 3**0.5)
        values = torch.from_numpy(drawn).to(weight.device) * self.spread[name][:, None]
        renew(self.parameters, name, reader, unit, values)
        for slots in self.slots.values():
            if all(slots[key].shape == value.shape for key, value in self.parameters.items()):
                renew(slots, name, reader, unit, None)
        utility.scatter_(1, unit[:, None], 0.0)
        self.born[name].scatter_(1, unit[:, None], self.steps)
