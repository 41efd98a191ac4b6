"""Plain fine-tuning: a ReLU multi-layer perceptron trained by SGD, all seeds at once.

Shapes: S seeds, B samples, D_in and D_out widths of a layer, C logits.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Final

import torch
from torch import Tensor

from nlbench.batch import Batch, Batches, Learner, Problem
from nlbench.kernels.backends import Backend, resolve
from nlbench.kernels.mlp_logits import mlp_logits
from nlbench.kernels.mlp_step import mlp_step, mlp_steps
from nlbench.learners.config import MlpConfig
from nlbench.learners.initial import linear
from nlbench.learners.replay import Replay, rehearse

SHORT_RUN: Final = 10**8
"""Steps times parameters of a seed below which torch has finished the run before the kernel's machine code would be loaded."""


class Mlp(Learner):
    """Softmax cross-entropy over the competing logits, one SGD step a batch (heavy-ball momentum if asked)."""

    precisions: ClassVar[tuple[str, ...]] = ("float32", "bf16")

    def __init__(self, config: MlpConfig, problem: Problem) -> None:
        widths = (problem.n_inputs, *config.hidden, problem.n_classes)
        layers = [linear(problem, f"layer{i}", d_in, d_out) for i, (d_in, d_out) in enumerate(pairwise(widths))]
        self.weights = [weight for weight, _ in layers]
        self.biases = [bias for _, bias in layers]
        self.weight_velocities = [torch.zeros_like(weight) for weight in self.weights] if config.momentum else []
        self.bias_velocities = [torch.zeros_like(bias) for bias in self.biases] if config.momentum else []
        short = problem.steps * sum(weight[0].numel() for weight in self.weights) < SHORT_RUN
        asked = "reference" if short and problem.backend == "auto" else problem.backend
        self.backend = resolve(mlp_step.__module__, asked, self.weights[0], problem.precision)
        self._predicts: Backend = "numba" if self.backend == "numba" else "reference"
        self._precision = problem.precision
        self._rate = config.rate
        self._momentum = config.momentum
        self._replay = Replay(self._step)
        if self.backend == "numba":
            self.takes_batches = True
            _load_machine_code()
        rehearse(self, problem)

    def observe(self, batch: Batch) -> Tensor:
        state = [*self.weights, *self.biases, *self.weight_velocities, *self.bias_velocities]
        return self._replay(state, batch.inputs.flatten(2), batch.labels, batch.classes)

    def _step(self, inputs: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
        return mlp_step(
            self.weights,
            self.biases,
            inputs,
            labels,
            classes,
            rate=self._rate,
            momentum=self._momentum,
            weight_velocities=self.weight_velocities,
            bias_velocities=self.bias_velocities,
            precision=self._precision,
            backend=self.backend,
        )

    def observe_batches(self, batches: Batches) -> Tensor:
        losses = mlp_steps(
            self.weights,
            self.biases,
            batches.inputs.flatten(1),
            batches.rows,
            batches.labels,
            batches.classes,
            batch=batches.size,
            rate=self._rate,
            momentum=self._momentum,
            weight_velocities=self.weight_velocities,
            bias_velocities=self.bias_velocities,
            backend=self.backend,
        )
        return losses.mT

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return mlp_logits(self.weights, self.biases, inputs.flatten(2), precision=self._precision, backend=self._predicts)

    def permute_inputs(self, order: Tensor) -> None:
        """In place: steps captured on a GPU know where tensors lie."""
        for tensors in (self.weights, self.weight_velocities):
            if tensors:
                tensors[0].copy_(tensors[0].gather(2, order[:, None].expand_as(tensors[0])))

    def memory_bytes(self) -> dict[str, int]:
        seeds = len(self.weights[0])
        return {
            "parameters": sum(tensor.nbytes for tensor in (*self.weights, *self.biases)) // seeds,
            "optimizer": sum(tensor.nbytes for tensor in (*self.weight_velocities, *self.bias_velocities)) // seeds,
        }


def _load_machine_code() -> None:
    """Take the smallest step there is and test on it: code is loaded, or compiled where this version never ran, before a batch is
    timed.
    """
    one = torch.zeros(1, 1, 1)
    mlp_step(
        [one], [one[0]], one, torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, dtype=torch.bool), rate=0.0, backend="numba"
    )
    mlp_logits([one], [one[0]], one, backend="numba")
