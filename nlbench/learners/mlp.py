"""Plain fine-tuning: a ReLU multi-layer perceptron trained by SGD, all seeds at once.

Shapes: S seeds, B samples, D_in and D_out widths of a layer, C logits.
"""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from nlbench.batch import Batch, Batches, Learner, Problem
from nlbench.kernels import bind, mlp_logits, mlp_step
from nlbench.kernels.graphs import Captured
from nlbench.learners.config import MlpConfig
from nlbench.learners.initial import linear
from nlbench.learners.trial import try_on_gpu


class Mlp(Learner):
    """Softmax cross-entropy over the competing logits, one SGD step a batch (heavy-ball momentum if asked)."""

    precisions: ClassVar[tuple[str, ...]] = ("float32", "bf16")
    made_anew: ClassVar[tuple[str, ...]] = ("backend", "takes_batches", "_training", "_reading", "_captured")

    def __init__(self, config: MlpConfig, problem: Problem) -> None:
        widths = (problem.n_inputs, *config.hidden, problem.n_classes)
        layers = [linear(problem, f"layer{i}", d_in, d_out) for i, (d_in, d_out) in enumerate(pairwise(widths))]
        self.weights = [weight for weight, _ in layers]
        self.biases = [bias for _, bias in layers]
        self.weight_velocities = [torch.zeros_like(weight) for weight in self.weights] if config.momentum else []
        self.bias_velocities = [torch.zeros_like(bias) for bias in self.biases] if config.momentum else []
        parameters = sum(weight[0].numel() for weight in self.weights)
        self._training = bind(
            mlp_step, problem.backend, self.weights[0], precision=problem.precision, work=problem.steps * parameters
        )
        self._reading = self._training.beside(mlp_logits, self.weights[0])
        self.backend = self._training.backend
        self.takes_batches = self._training.has("steps")
        self._rate = config.rate
        self._momentum = config.momentum
        self._captured = Captured(self._step)
        self._training.load()
        self._reading.load()
        try_on_gpu(self, problem)

    def observe(self, batch: Batch) -> Tensor:
        state = [*self.weights, *self.biases, *self.weight_velocities, *self.bias_velocities]
        return self._captured(state, batch.inputs.flatten(2), batch.labels, batch.classes)

    def _step(self, inputs: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
        return self._training.mlp_step(
            self.weights,
            self.biases,
            inputs,
            labels,
            classes,
            rate=self._rate,
            momentum=self._momentum,
            weight_velocities=self.weight_velocities,
            bias_velocities=self.bias_velocities,
        )

    def observe_batches(self, batches: Batches) -> Tensor:
        losses = self._training.mlp_steps(
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
        )
        return losses.mT

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return self._reading.mlp_logits(self.weights, self.biases, inputs.flatten(2))

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
