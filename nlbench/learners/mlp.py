"""Plain fine-tuning: a ReLU multi-layer perceptron trained by SGD, all seeds in batched products with a hand-written backward
pass.

Shapes: S seeds, B samples, D_in and D_out widths of a layer, C logits.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from nlbench.batch import Batch, Learner, Problem
from nlbench.learners.initial import linear
from nlbench.specs.learners import MlpConfig


class Mlp(Learner):
    """Softmax cross-entropy over the competing logits, one SGD step a batch (heavy-ball momentum if asked)."""

    def __init__(self, config: MlpConfig, problem: Problem) -> None:
        widths = (problem.n_inputs, *config.hidden, problem.n_classes)
        layers = [linear(problem, f"layer{i}", d_in, d_out) for i, (d_in, d_out) in enumerate(pairwise(widths))]
        self.weights = [weight for weight, _ in layers]
        self.biases = [bias for _, bias in layers]
        self.weight_velocities = [torch.zeros_like(weight) for weight in self.weights] if config.momentum else []
        self.bias_velocities = [torch.zeros_like(bias) for bias in self.biases] if config.momentum else []
        self._rate = config.rate
        self._momentum = config.momentum

    def observe(self, batch: Batch) -> Tensor:
        *activations, logits = self._forward(batch.inputs.flatten(2))
        loss, delta = cross_entropy(logits, batch.labels, batch.classes)
        for i in reversed(range(len(self.weights))):
            below = torch.bmm(delta, self.weights[i]).mul_(activations[i] > 0) if i else delta
            self._step(i, delta, activations[i])
            delta = below
        return loss

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return self._forward(inputs.flatten(2).expand(len(self.weights[0]), -1, -1))[-1]

    def permute_inputs(self, order: Tensor) -> None:
        for tensors in (self.weights, self.weight_velocities):
            if tensors:
                tensors[0] = tensors[0].gather(2, order[:, None].expand_as(tensors[0]))

    def memory_bytes(self) -> dict[str, int]:
        seeds = len(self.weights[0])
        return {
            "parameters": sum(tensor.nbytes for tensor in (*self.weights, *self.biases)) // seeds,
            "optimizer": sum(tensor.nbytes for tensor in (*self.weight_velocities, *self.bias_velocities)) // seeds,
        }

    def _forward(self, inputs: Tensor) -> list[Tensor]:
        """Return the input of every layer and the logits, each (S, B, D)."""
        values = [inputs]
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values.append(torch.baddbmm(bias[:, None], values[-1], weight.mT))
            if i + 1 < len(self.weights):
                values[-1].relu_()
        return values

    def _step(self, i: int, delta: Tensor, below: Tensor) -> None:
        """Move layer i against its gradient, delta^T below."""
        if not self._momentum:
            self.weights[i].baddbmm_(delta.mT, below, alpha=-self._rate)
            self.biases[i].sub_(delta.sum(1), alpha=self._rate)
            return
        self.weight_velocities[i].baddbmm_(delta.mT, below, beta=self._momentum)
        self.bias_velocities[i].mul_(self._momentum).add_(delta.sum(1))
        self.weights[i].sub_(self.weight_velocities[i], alpha=self._rate)
        self.biases[i].sub_(self.bias_velocities[i], alpha=self._rate)


def cross_entropy(logits: Tensor, labels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean softmax cross-entropy over the competing classes (S,), and its gradient with respect to the logits (S,
    B, C).
    """
    log_shares = logits.masked_fill(~classes, -torch.inf).log_softmax(-1)
    labels = labels[..., None]
    loss = -log_shares.gather(-1, labels).mean((1, 2))
    delta = log_shares.exp().scatter_add_(-1, labels, torch.full_like(labels, -1.0, dtype=logits.dtype))
    return loss, delta.div_(logits.shape[1])
