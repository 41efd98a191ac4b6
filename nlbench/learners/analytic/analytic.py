"""What analytic learners share: frozen features, statistics of them, and a read-out that is solved for when it is asked for.

Shapes: S seeds, B or N samples, D features, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, NamedTuple

import torch
from torch import Tensor

from nlbench.batch import Batch, Learner, Problem
from nlbench.kernels import metric_update
from nlbench.kernels.backends import bind
from nlbench.learners.analytic.config import AnalyticConfig
from nlbench.learners.analytic.statistics import Means
from nlbench.networks.building import build as build_network
from nlbench.state import STRUCTURE, collect

PREDICTED_AT_ONCE: Final = 500
"""Samples: features of all seeds take far more room than the samples."""


class Linear(NamedTuple):
    """A read-out W φ + b: weights (S, C, D) and biases (S, C)."""

    weights: Tensor
    biases: Tensor


class Analytic(Learner):
    """A network as it starts, which never learns, and a linear read-out that a subclass solves for from what it gathered.

    The read-out is made at the first prediction after a batch, so that none is stale, and is no state: it follows from the
    statistics. The loss that `observe` returns is half the mean squared distance of features from their class's mean so far: the
    read-out's own would cost a solution a batch.
    """

    made_anew: ClassVar[tuple[str, ...]] = ("network", "ops", "_readout")

    def __init__(self, config: AnalyticConfig, problem: Problem) -> None:
        self.network = build_network(config.network, problem)
        self.parameters, self.state = self.network.initial(problem.seeds)
        self.means = Means.none(len(problem.seeds), problem.n_classes, self.network.width, problem.device)
        self.ops = bind(metric_update, problem.backend, self.means.counts)
        self.backend = self.ops.backend
        self._readout: Linear | None = None

    def gather(self, features: Tensor, labels: Tensor) -> None:
        """Take in features (S, B, D) of labels (S, B) beside the means of classes, which do not know them yet."""

    def solve(self) -> Linear:
        """Return the read-out that all that was gathered gives."""
        raise NotImplementedError

    def features(self, inputs: Tensor) -> Tensor:
        """Return the features (S, B, D) of inputs (1 or S, B, *input_shape)."""
        return self.network.apply(self.parameters, self.state, inputs, training=False)[0]

    def observe(self, batch: Batch) -> Tensor:
        features = self.features(batch.inputs)
        losses = self.loss(features, batch.labels)
        self.gather(features, batch.labels)
        self.means.gather(features, batch.labels)
        self._readout = None
        return losses

    def loss(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the loss (S,) before the update."""
        own = self.means.of_classes().gather(1, labels[..., None].expand(-1, -1, features.shape[-1]))
        return (features - own).square().mean((1, 2)) / 2

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        if self._readout is None:
            self._readout = self.solve()
        return torch.cat([self.known(self.logits(self.features(part))) for part in inputs.split(PREDICTED_AT_ONCE, dim=1)], 1)

    def logits(self, features: Tensor) -> Tensor:
        """Return what is read out of features (S, N, D), (S, N, C)."""
        assert self._readout is not None
        return torch.baddbmm(self._readout.biases[:, None], features, self._readout.weights.mT)

    def known(self, logits: Tensor) -> Tensor:
        """Return logits (S, N, C) in which a class that was never met is one less than the least of those that were."""
        met = (self.means.counts > 0)[:, None]
        least = logits.masked_fill(~met, torch.inf).amin(-1, keepdim=True)
        return torch.where(met, logits, torch.where(least.isinf(), 0.0, least - 1))

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        super().load_state_dict(saved)
        self._readout = None

    def memory_bytes(self) -> dict[str, int]:
        """Bytes a seed: what was drawn as parameters, what was gathered as memory; read-outs follow from both."""
        drawn = _bytes([*self.parameters.values(), *self.state.values()])
        return {"parameters": drawn, "memory": _bytes(v for k, v in collect(self).items() if k != STRUCTURE) - drawn}


def nearest(centres: Tensor, precision_of_centres: Tensor) -> Linear:
    """Return the read-out of the nearest centre, (S, C, D), in a precision Λ that all share, from centres Λ.

    -½ (φ - μ)ᵀ Λ (φ - μ) but for what is the same for every class: μᵀ Λ φ - ½ μᵀ Λ μ.
    """
    return Linear(precision_of_centres, -(centres * precision_of_centres).sum(-1) / 2)


def _bytes(tensors: object) -> int:
    return sum(value.nbytes // (len(value) if value.ndim else 1) for value in tensors)  # type: ignore[attr-defined]
