"""An MLP of one hidden layer and one seed in float64 NumPy, its gradients by hand: what methods are judged against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from small_streams import CPU

from nlbench import Batch, Problem, catalog
from nlbench.learners.building import build
from nlbench.learners.gradient import GradientLearner

Array = NDArray[np.float64]
Weights = dict[str, Array]

SEEDS, CLASSES, INPUTS, HIDDEN, BATCH, STEPS, TASKS = (0, 1, 2), 4, 5, 6, 4, 5, 3


def learner(kind: str, *, seeds: tuple[int, ...] = SEEDS, scenario: str = "class-il", **config: Any) -> Any:
    """Return a learner on this MLP, for the tasks below."""
    table = {"kind": kind, "network": {"kind": "mlp", "hidden": [HIDDEN]}, "optimizer": {"kind": "sgd", "rate": 0.2}, **config}
    declared = catalog.config("learners", kind).model_validate(table)
    return build(declared, Problem((INPUTS,), CLASSES, seeds, scenario, CPU, "auto", TASKS * STEPS))


def batches(task: int, seeds: slice = slice(None), *, told: bool = False) -> Iterator[Batch]:
    """Yield the batches of a task, 1…3; where it is told, two classes compete."""
    draw = torch.Generator().manual_seed(task)
    competing = torch.ones(CLASSES, dtype=torch.bool)
    first = (task - 1) % 2 * 2
    if told:
        competing = torch.arange(CLASSES).div(2, rounding_mode="floor") == (task - 1) % 2
    for _ in range(STEPS):
        inputs = torch.randn(len(SEEDS), BATCH, INPUTS, generator=draw)
        labels = first + (inputs[..., task] > 0).long()
        yield Batch(inputs[seeds], labels[seeds], competing, task if told else None)


def learned(made: GradientLearner, *, tasks: Sequence[int] = (1, 2, 3), seeds: slice = slice(None), told: bool = False) -> Any:
    """Let a learner learn the tasks, told where each ends; return it."""
    with torch.no_grad():
        for task in tasks:
            for batch in batches(task, seeds, told=told):
                made.observe(batch)
            made.end_task()
    return made


def weights(made: GradientLearner, seed: int) -> Weights:
    """Return a seed's parameters."""
    return {name: value[seed].detach().double().numpy().copy() for name, value in made.parameters.items()}


def shown(task: int, seed: int, *, told: bool = False) -> Iterator[tuple[Array, NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield the inputs, labels and competing classes of each batch of a task, as one seed is shown them."""
    for batch in batches(task, told=told):
        yield batch.inputs[seed].double().numpy(), batch.labels[seed].numpy(), batch.classes.numpy()


def answers(p: Weights, x: Array, head: str = "head") -> tuple[Array, Array]:
    """Return hidden units (B, H) and logits (B, C)."""
    hidden = np.maximum(x @ p["layer0.weight"].T + p["layer0.bias"], 0)
    return hidden, hidden @ p[f"{head}.weight"].T + p[f"{head}.bias"]


def backward(p: Weights, x: Array, slopes: Array, head: str = "head") -> Weights:
    """Return the gradients of a function whose slopes by the logits (B, C) are given."""
    hidden, _ = answers(p, x, head)
    below = (slopes @ p[f"{head}.weight"]) * (hidden > 0)
    return {
        "layer0.weight": below.T @ x,
        "layer0.bias": below.sum(0),
        f"{head}.weight": slopes.T @ hidden,
        f"{head}.bias": slopes.sum(0),
    }


def softmax(logits: Array, classes: NDArray[np.bool_]) -> Array:
    shifted = np.where(classes, logits, -np.inf)
    shares = np.exp(shifted - shifted.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def gradient(p: Weights, x: Array, y: NDArray[np.int64], classes: NDArray[np.bool_], head: str = "head") -> Weights:
    """Return the gradient of the mean cross-entropy."""
    slopes = softmax(answers(p, x, head)[1], classes)
    slopes[np.arange(len(y)), y] -= 1
    return backward(p, x, slopes / len(y), head)


def agree(made: GradientLearner, seed: int, p: Weights, tolerance: float = 2e-5) -> None:
    """Raise AssertionError where a seed's parameters are not these."""
    found = weights(made, seed)
    assert found.keys() == p.keys()
    for name, value in p.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=tolerance, err_msg=name)


def basis(known: Array, rows: Array, threshold: float) -> Array:
    """Return M (D, k) with the fewest directions more that span the share `threshold` of rows (n, D)."""
    R = rows.T
    left = R - known @ known.T @ R
    u, sigma, _ = np.linalg.svd(left, full_matrices=False)
    k = 0
    while np.square(known.T @ R).sum() + np.square(sigma[:k]).sum() < threshold * np.square(R).sum():
        k += 1
    return np.hstack([known, u[:, :k]])


def started(kind: str, **config: Any) -> Any:
    """Return a learner of a head a task before its first step, with the heads of all tasks."""
    made = learner(kind, scenario="task-il", head="task", **config)
    for task in (1, 2, 3):
        made.take_in(made.head.initial(task))
    return made
