"""Heads: from a network's features to logits. Their parameters stand beside the network's.

Shapes: S seeds, B samples, F features, C logits.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Problem
from nlbench.errors import NlbenchError
from nlbench.learners.gradient_config import HeadKind
from nlbench.networks import initial, layers
from nlbench.networks.network import Network, Taps, Tree

LAYER: Final = "head"
"""The name of a head as a layer: its parameters are `head.weight` and `head.bias`, or of task 3 `head.3.weight`."""

_WAY_OUT: Final = 'Use head = "one", or a stream of scenario task-il that is learned in order.'

SCALE: Final = 10.0
"""What the cosines of a cosine head are multiplied by at first; learned."""


class Head:
    """Where a network's features are read out.

    one     one linear layer for all classes
    task    one linear layer a task, made when the task is first met: for task-il
    cosine  a learned scale times the cosine between features and each class's vector (Hou et al. 2019, eq. 2)
    """

    def __init__(self, kind: HeadKind, network: Network, problem: Problem) -> None:
        """Raises `NlbenchError` where the network has no features, or the stream does not tell the task."""
        if network.returns_logits and kind != "one":
            raise NlbenchError(
                f"learner.head: {kind!r} needs a network that returns features.", 'Set learner.network.outputs = "features".'
            )
        if kind == "task" and problem.scenario != "task-il":
            raise NlbenchError(f"learner.head: a head a task needs to be told the task, not in {problem.scenario}.", _WAY_OUT)
        self._kind = kind
        self._network = network
        self._problem = problem

    def initial(self, task: int | None = None) -> Tree:
        """Return the first parameters of the head; of a head a task, those of `task`, and none where there is no task yet."""
        if self._network.returns_logits or (self._kind == "task" and task is None):
            return {}
        layer, drawn = self.layer(task), self._network.head + (f".{task}" if self._kind == "task" else "")
        seeds, device = self._problem.seeds, self._problem.device
        values = initial.linear(seeds, drawn, self._network.width, self._problem.n_classes, spread=self._network.spread)
        parameters = {f"{layer}.{name.rpartition('.')[2]}": value for name, value in values.items()}
        if self._kind == "cosine":
            parameters = {f"{LAYER}.weight": parameters[f"{LAYER}.weight"], f"{LAYER}.scale": torch.full((len(seeds),), SCALE)}
        return {name: value.to(device) for name, value in parameters.items()}

    def known(self, parameters: Tree, task: int | None) -> bool:
        """Return whether the parameters hold all that logits of a task need."""
        return self._network.returns_logits or f"{self.layer(task)}.weight" in parameters

    def layer(self, task: int | None) -> str:
        """Return the name of the head as a layer. Raises `NlbenchError` for a head a task where the task is not told."""
        if self._kind != "task":
            return LAYER
        if task is None:
            raise NlbenchError("learner.head: a head a task needs to be told the task.", _WAY_OUT)
        return f"{LAYER}.{task}"

    def logits(self, parameters: Tree, features: Tensor, task: int | None, taps: Taps | None = None) -> Tensor:
        """Return the logits (S, B, C) of features (S, B, F)."""
        if self._network.returns_logits:
            return features
        if self._kind != "cosine":
            return layers.linear(parameters, self.layer(task), features, taps)
        weight, scale = parameters[f"{LAYER}.weight"], parameters[f"{LAYER}.scale"]
        features = features.expand(len(weight), -1, -1)
        cosines = F.normalize(features, dim=2) @ F.normalize(weight, dim=2).mT
        return scale[:, None, None] * (cosines if taps is None else taps(LAYER, features, cosines))
