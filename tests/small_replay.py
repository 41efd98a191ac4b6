"""Three small tasks, methods with stored samples on them, and a network of one hidden layer in NumPy for renderings of theirs.

Shapes: B samples, H hidden units, C logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from small_streams import CPU
from torch import Tensor

from nlbench import Batch, Problem, catalog
from nlbench.learners.building import build
from nlbench.learners.replay.rehearsal import Rehearsal

Array = NDArray[np.float64]
Drawn = list[dict[str, NDArray[Any]]]

SEEDS, DIM, HIDDEN, C, B, RATE = (0, 1, 2), 3, 5, 6, 4, 0.2
STEPS = 5
"""Batches of a task."""


def learner(
    kind: str, seeds: tuple[int, ...] = SEEDS, scenario: str = "class-il", device: torch.device = CPU, **config: Any
) -> Rehearsal:
    table = {"network": {"kind": "mlp", "hidden": [HIDDEN]}, "optimizer": {"kind": "sgd", "rate": RATE}, "capacity": 8, **config}
    declared = catalog.config("learners", kind).model_validate({"kind": kind, **table})
    return build(declared, Problem((DIM,), C, seeds, scenario, device, "auto", 15))  # type: ignore[return-value,arg-type]


def batches(task: int, scenario: str = "class-il", last: int = 0) -> list[Batch]:
    """Batches of a task of two classes, which it adds to those that compete, those of all up to `last` if that one is later; in
    task-il they are those that compete.
    """
    draw = torch.Generator().manual_seed(task)
    found = []
    for _ in range(STEPS):
        labels = 2 * task - 2 + torch.randint(2, (len(SEEDS), B), generator=draw)
        inputs = torch.randn(len(SEEDS), B, DIM, generator=draw) + torch.stack([labels.sin(), labels.cos(), labels / 3], -1)
        classes = torch.arange(C) < 2 * max(task, last)
        if scenario == "task-il":
            classes &= torch.arange(C) >= 2 * task - 2
        found.append(Batch(inputs, labels, classes, task if scenario == "task-il" else None))
    return found


def of_seed(batch: Batch, seed: int) -> Batch:
    return Batch(batch.inputs[seed : seed + 1], batch.labels[seed : seed + 1], batch.classes, batch.task)


class Mlp64:
    """A hidden layer with ReLU and a linear one, of one seed, in float64: parameters by their names in the learner."""

    def __init__(self, parameters: dict[str, Tensor], seed: int) -> None:
        self.values: dict[str, Array] = {name: value[seed].detach().double().numpy() for name, value in parameters.items()}

    def features(self, x: Array, values: dict[str, Array] | None = None) -> Array:
        own = values or self.values
        return np.maximum(x @ own["layer0.weight"].T + own["layer0.bias"], 0)

    def logits(self, x: Array, values: dict[str, Array] | None = None) -> Array:
        own = values or self.values
        return self.features(x, own) @ own["head.weight"].T + own["head.bias"]

    def gradient(self, x: Array, of_logits: Array) -> dict[str, Array]:
        """Return the gradient of all parameters where (B, C) is that of the logits of x (B, d)."""
        hidden = self.features(x)
        of_hidden = (of_logits @ self.values["head.weight"]) * (hidden > 0)
        return {
            "layer0.weight": of_hidden.T @ x,
            "layer0.bias": of_hidden.sum(0),
            "head.weight": of_logits.T @ hidden,
            "head.bias": of_logits.sum(0),
        }

    def moved(self, gradient: dict[str, Array]) -> dict[str, Array]:
        return {name: value - RATE * gradient[name] for name, value in self.values.items()}


def softmax(logits: Array, classes: NDArray[np.bool_]) -> Array:
    shares = np.where(classes, np.exp(logits - logits.max(-1, keepdims=True)), 0)
    return shares / shares.sum(-1, keepdims=True)


def surprise(logits: Array, labels: NDArray[np.int64], classes: NDArray[np.bool_]) -> Array:
    """Return the cross-entropy of each sample, (B,)."""
    return -np.log(softmax(logits, classes)[np.arange(len(labels)), labels])


def of_surprise(logits: Array, labels: NDArray[np.int64], classes: NDArray[np.bool_]) -> Array:
    """Return the gradient of the mean cross-entropy by the logits."""
    return (softmax(logits, classes) - np.eye(C)[labels]) / len(labels)


def added(*gradients: dict[str, Array]) -> dict[str, Array]:
    return {name: np.sum([each[name] for each in gradients], 0) for name in gradients[0]}


def flat(gradient: dict[str, Array]) -> Array:
    return np.concatenate([gradient[name].ravel() for name in sorted(gradient)])


def shaped(vector: Array, like: dict[str, Array]) -> dict[str, Array]:
    parts, start = {}, 0
    for name in sorted(like):
        parts[name] = vector[start : start + like[name].size].reshape(like[name].shape)
        start += like[name].size
    return parts


def spied(made: Rehearsal) -> Drawn:
    """Return a list to which whatever the buffer gives from now on is added, as (S, n, …)."""
    drawn: Drawn = []
    at = made.buffer.at

    def noted(places: Tensor) -> dict[str, Tensor]:
        found = at(places)
        drawn.append(
            {
                name: value.numpy().astype(np.float64 if value.is_floating_point() else value.numpy().dtype)
                for name, value in found.items()
            }
        )
        return found

    made.buffer.at = noted  # type: ignore[method-assign]
    return drawn


def steps(
    made: Rehearsal, scenario: str = "class-il", tasks: tuple[int, ...] = (1, 2, 3)
) -> Iterator[tuple[int, Batch, Tensor, Drawn]]:
    """Let a learner learn these tasks; yield each step's task, batch, losses and what was drawn in it."""
    drawn = spied(made)
    for number, task in enumerate(tasks):
        for batch in batches(task, scenario, max(tasks[: number + 1])):
            drawn.clear()
            yield task, batch, made.observe(batch), list(drawn)
        made.end_task()


Rendered = Callable[
    [Mlp64, Array, NDArray[np.int64], NDArray[np.bool_], list[dict[str, Any]], int], tuple[float, dict[str, Array]]
]
"""(network, x, y, competing classes, what was drawn, step) -> the loss and the gradient that is descended on."""


def equals(made: Rehearsal, renderings: list[Rendered], tasks: tuple[int, ...] = (1, 2, 3)) -> None:
    """Assert that a learner's losses and parameters are those of one rendering a seed, at every step of these tasks."""
    networks = [Mlp64(made.parameters, seed) for seed in range(len(SEEDS))]
    for step, (_, batch, losses, drawn) in enumerate(steps(made, tasks=tasks)):
        for seed, (network, render) in enumerate(zip(networks, renderings, strict=True)):
            own = [{name: value[seed] for name, value in each.items()} for each in drawn]
            x, y = batch.inputs[seed].double().numpy(), batch.labels[seed].numpy()
            loss, gradient = render(network, x, y, batch.classes.numpy(), own, step)
            np.testing.assert_allclose(losses[seed].item(), loss, rtol=2e-4, atol=1e-5)
            network.values = network.moved(gradient)
            for name, value in network.values.items():
                np.testing.assert_allclose(made.parameters[name][seed].detach().numpy(), value, rtol=2e-3, atol=2e-5)
