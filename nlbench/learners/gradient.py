"""A network, a head and an optimizer: what every learner by gradients shares. A method about forgetting overrides a part or two.

Shapes: S seeds, B samples, F features, C logits.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.batch import Batch, Learner, Problem, billed_apart
from nlbench.kernels.graphs import Captured
from nlbench.learners import optimizers
from nlbench.learners.gradient_config import GradientConfig
from nlbench.learners.heads import Head
from nlbench.learners.schedules import scheduled
from nlbench.learners.trial import try_on_gpu
from nlbench.networks.building import build as build_network
from nlbench.networks.network import Taps, Tree
from nlbench.state import STRUCTURE, collect

PREDICTED_AT_ONCE = 500
"""Samples: what layers return for all seeds takes far more room than the samples."""


class GradientLearner(Learner):
    """One step of the optimizer a batch on `loss`. Seeds share no parameter, so the gradient of the sum is each seed's own.

    A subclass overrides `loss` (a term more), `adjust` (gradients projected, masked, rescaled), `move` (another rule, or what is
    learned from the move itself) or `after_step` (buffers, what comes every so many steps). On a GPU the first three are
    captured with the step, so they must not depend on numbers on the host; `captured = False` says that they do. `take_in` is
    where a method makes what it holds for each parameter.
    """

    Config = GradientConfig
    precisions: ClassVar[tuple[str, ...]] = ("float32", "bf16")
    captured: bool = True
    made_anew: ClassVar[tuple[str, ...]] = ("network", "head", "optimizer", "_problem", "_steps")

    def __init__(self, config: GradientConfig, problem: Problem) -> None:
        self._problem = problem
        self.network = build_network(config.network, problem)
        self.head = Head(config.head, self.network, problem)
        self.optimizer = scheduled(optimizers.build(config.optimizer), config.schedule)
        self.rate = config.optimizer.rate
        self.parameters, self.state = self.network.initial(problem.seeds)
        """{name: (S, …)}: the network's and the heads', each a leaf; and what changes by no gradient."""
        self.slots: optimizers.Slots = {}
        for tree in (dict(self.parameters), self.head.initial(), self.beside()):
            self.take_in(tree)
        self._steps: dict[tuple[int | None, Hashable], Captured] = {}
        if config.head != "task":  # a head a task is made when its task comes
            try_on_gpu(self, problem)

    def loss(self, batch: Batch) -> Tensor:
        """Return what each seed descends on, (S,), with gradients on: the cross-entropy over the competing classes."""
        return cross_entropy(self.logits(batch.inputs, batch.task, training=True), batch.labels, batch.classes)

    def beside(self) -> Tree:
        """Return the first parameters beside the network's and the head's, such as a generator's; by default none."""
        return {}

    def adjust(self, gradients: Tree) -> Tree:
        """Return the gradients that the optimizer gets; those given, unless a method says otherwise."""
        return gradients

    def move(self, gradients: Tree) -> None:
        """Move the parameters, in place, by the gradients of the loss: a step of the optimizer on what `adjust` makes of them."""
        self.optimizer.step(self.parameters, self.adjust(gradients), self.slots, self.rate)

    def take_in(self, parameters: Tree) -> None:
        """Add parameters, and slots for them: the network's and a head's at first, those of a task's own head when it comes."""
        for name, value in parameters.items():
            self.parameters[name] = value.detach().requires_grad_()
        for kind, tree in self.optimizer.initial(parameters).items():
            self.slots.setdefault(kind, {}).update(tree)

    def after_step(self, batch: Batch) -> None:
        """Called when the parameters have moved."""

    def phase(self) -> Hashable:
        """Return what the host decides about the next step, such as whether there are samples to replay: steps of one phase make
        the same products, and on a GPU are captured together.
        """
        return None

    def gradients(self, losses: Tensor, *, again: bool = False) -> Tree:
        """Return each seed's gradient of its own loss, of the parameters that it depends on; `again` if it is asked once more."""
        # of the sum: given what a vector is weighted with, torch imports its algebra of shapes, which takes half a second
        found = torch.autograd.grad(losses.sum(), list(self.parameters.values()), allow_unused=True, retain_graph=again)
        return {name: each for name, each in zip(self.parameters, found, strict=True) if each is not None}

    def logits(
        self, inputs: Tensor, task: int | None, *, training: bool, taps: Taps | None = None, parameters: Tree | None = None
    ) -> Tensor:
        """Return logits (S, B, C) of inputs (1 or S, B, *input_shape); in training, the network's state moves.

        parameters  others than the learner's own: a former network's, or those after a trial step
        """
        parameters = self.parameters if parameters is None else parameters
        if not self.head.known(parameters, task):  # a task that is tested before it was learned
            parameters = {**parameters, **self.head.initial(task)}
        features = self.features(inputs, parameters, training=training, taps=taps)
        with self._rounded():
            return self.head.logits(parameters, features, task, taps).float()

    def features(self, inputs: Tensor, parameters: Tree, *, training: bool, taps: Taps | None = None) -> Tensor:
        """Return the network's features (S, B, F) of inputs (1 or S, B, *input_shape); in training, its state moves."""
        with self._rounded():
            features, state = self.network.apply(parameters, self.state, inputs, training=training, taps=taps)
        with torch.no_grad():
            for name, value in state.items():
                if value is not self.state[name]:
                    self.state[name].copy_(value)
        return features

    def observe(self, batch: Batch) -> Tensor:
        if not self.head.known(self.parameters, batch.task):
            self.take_in(self.head.initial(batch.task))
        if self.captured and self.network.captured and self.optimizer.captured:
            losses = self._captured_step(batch.task, self.phase())(self.held(), batch.inputs, batch.labels, batch.classes)
        else:
            losses = self._step(batch)
        self.after_step(batch)
        return losses

    @torch.no_grad()
    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        with self._repeated():
            parts = [self.logits(part, task, training=False) for part in inputs.split(PREDICTED_AT_ONCE, dim=1)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def held(self) -> list[Tensor]:
        """Return every tensor that a step reads or changes beside the batch; a method adds its own."""
        slots = [value for tree in self.slots.values() for value in tree.values()]
        return [*self.parameters.values(), *self.state.values(), *slots]

    def memory_bytes(self) -> dict[str, int]:
        """Bytes a seed: parameters with the network's state, the optimizer's slots, samples, and as memory what else is held."""
        parameters = _bytes([*self.parameters.values(), *self.state.values()])
        optimizer = _bytes([value for tree in self.slots.values() for value in tree.values()])
        everything = _bytes([value for name, value in collect(self).items() if name != STRUCTURE])
        apart = billed_apart(self)
        memory = everything - parameters - optimizer - sum(apart.values())
        return {"parameters": parameters, "optimizer": optimizer, "memory": memory, **apart}

    def _step(self, batch: Batch) -> Tensor:
        with torch.enable_grad(), self._repeated():
            losses = self.loss(batch)
            gradients = self.gradients(losses)
        with torch.no_grad():
            self.move(gradients)
        return losses.detach()

    def _captured_step(self, task: int | None, phase: Hashable) -> Captured:
        """Return the step of a task's batches in one phase, which on a GPU is captured."""

        def step(inputs: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
            return self._step(Batch(inputs, labels, classes, task))

        if (task, phase) not in self._steps:
            self._steps[task, phase] = Captured(step)
        return self._steps[task, phase]

    def _rounded(self) -> AbstractContextManager[object]:
        """Products of networks in the precision that was asked for."""
        bf16 = self._problem.precision == "bf16"
        return torch.autocast(self._problem.device.type, torch.bfloat16) if bf16 else nullcontext()

    def _repeated(self) -> AbstractContextManager[object]:
        """Convolutions on a GPU in float32 where that was asked for, not in the shorter tf32, the same to the bit each time."""
        if self._problem.device.type != "cuda":
            return nullcontext()
        return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)


def cross_entropy(logits: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return the mean softmax cross-entropy over the competing classes, (S,), of logits (S, B, C) and labels (S, B)."""
    competing = torch.where(classes, logits, -torch.inf)  # which makes less on the way back than a fill
    each = F.cross_entropy(competing.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(labels.shape).mean(1)


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of a seed; what has no seed axis counts whole."""
    return sum(value.nbytes // (len(value) if value.ndim else 1) for value in tensors)
