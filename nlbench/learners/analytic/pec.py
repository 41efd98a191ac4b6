"""Prediction error-based classification (PEC): the class whose small network best predicts what a random one answers.

Shapes: S seeds, B or N samples, C classes, n numbers in a sample, H hidden units of a student, K outputs.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Batch, Learner, Problem
from nlbench.learners.analytic.analytic import PREDICTED_AT_ONCE
from nlbench.learners.analytic.config import PecConfig
from nlbench.networks import initial
from nlbench.networks.network import Tree

BETAS: Final = (0.9, 0.999)
EPS: Final = 1e-8


class Pec(Learner):
    """argmin_c |g_c(x) - h(x)|²: a frozen wide teacher h, and a student g_c a class that learns h on its class's samples alone.

    Both are a hidden layer with layer norm and GELU; students all start alike, and take a step of Adam for each batch that holds
    their class. What no sample of a class does to another's student cannot be forgotten.

    Told: nothing beyond batches. Keeps: a student a class with two slots for each weight, 12 C (n H + H K + 3 H + K) bytes, and
    the teacher's weights. Cost: C students forward and backward, and the teacher forward, for every sample.
    Source: Zając, Tuytelaars & van de Ven 2024 (arXiv 2305.18806), eq. 2-4; sizes of their programme. Rates do not fall to zero
    within a task, as theirs do: a stream does not tell how long a task is.
    """

    def __init__(self, config: PecConfig, problem: Problem) -> None:
        self._rate = config.rate
        seeds, device = problem.seeds, problem.device

        def drawn(name: str, width: int) -> Tree:
            parts = {
                **initial.linear(seeds, f"{name}0", problem.n_inputs, width),
                **initial.linear(seeds, f"{name}1", width, config.outputs),
            }
            norm = {"norm.weight": torch.ones(len(seeds), width), "norm.bias": torch.zeros(len(seeds), width)}
            return {key.removeprefix(name): value.to(device) for key, value in {**parts, **norm}.items()}

        self.teacher = drawn("teacher", config.teacher_width)
        """{name: (S, …)}."""
        self.students: Tree = {}
        """{name: (S, C, …)}."""
        for name, value in drawn("student", config.width).items():
            self.students[name] = value[:, None].repeat(1, problem.n_classes, *[1] * (value.ndim - 1)).requires_grad_()
        self.moments = [{name: torch.zeros_like(value) for name, value in self.students.items()} for _ in BETAS]
        self.steps = torch.zeros(len(seeds), problem.n_classes, device=device)
        """(S, C): of each student so far."""

    def errors(self, inputs: Tensor) -> Tensor:
        """Return each student's mean squared error (S, C, N) at inputs (1 or S, N, *input_shape)."""
        x = inputs.flatten(2).expand(len(self.steps), -1, -1)
        with torch.no_grad():
            wanted = _answers(self.teacher, x)
        return (_answers(self.students, x[:, None]) - wanted[:, None]).square().mean(-1)

    def observe(self, batch: Batch) -> Tensor:
        own = F.one_hot(batch.labels, self.steps.shape[1]).mT.to(batch.inputs.dtype)
        counts = own.sum(-1)
        with torch.enable_grad():
            losses = (self.errors(batch.inputs) * own).sum(-1) / counts.clamp_min(1)
            found = torch.autograd.grad(losses.sum(), list(self.students.values()))
        self._step(dict(zip(self.students, found, strict=True)), counts > 0)
        return ((losses * counts).sum(-1) / batch.labels.shape[1]).detach()

    @torch.no_grad()
    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return torch.cat([-self.errors(part).mT for part in inputs.split(PREDICTED_AT_ONCE, dim=1)], 1)

    @torch.no_grad()
    def _step(self, gradients: Tree, present: Tensor) -> None:
        """A step of Adam of the students that are present, (S, C): Kingma & Ba 2015, algorithm 1."""
        self.steps += present
        for name, gradient in gradients.items():
            shape = (*present.shape, *[1] * (gradient.ndim - 2))
            there, steps = present.view(shape), self.steps.view(shape).clamp_min(1)
            corrected = []
            for moment, beta, term in zip(self.moments, BETAS, (gradient, gradient.square()), strict=True):
                moment[name].copy_(torch.where(there, beta * moment[name] + (1 - beta) * term, moment[name]))
                corrected.append(moment[name] / (1 - beta**steps))
            move = self._rate * corrected[0] / (corrected[1].sqrt() + EPS)
            self.students[name].sub_(torch.where(there, move, 0.0))

    def memory_bytes(self) -> dict[str, int]:
        """Bytes a seed: both kinds of networks as parameters, Adam's moments and counts as optimizer."""
        weights = [*self.teacher.values(), *self.students.values()]
        slots = [self.steps, *(value for tree in self.moments for value in tree.values())]
        return {
            kind: sum(v.nbytes for v in held) // len(self.steps) for kind, held in (("parameters", weights), ("optimizer", slots))
        }


def _answers(parameters: Tree, x: Tensor) -> Tensor:
    """Return the outputs (…, N, K) of networks (…, H, n) at x (…, N, n)."""
    hidden = x @ parameters["0.weight"].mT + parameters["0.bias"][..., None, :]
    hidden = F.layer_norm(hidden, hidden.shape[-1:])
    hidden = F.gelu(hidden * parameters["norm.weight"][..., None, :] + parameters["norm.bias"][..., None, :])
    return hidden @ parameters["1.weight"].mT + parameters["1.bias"][..., None, :]
