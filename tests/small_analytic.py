"""Three small tasks for analytic learners, and what NumPy makes of them, one seed after another in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from small_streams import CPU

from nlbench import Batch, Problem, catalog
from nlbench.learners.analytic.analytic import Analytic
from nlbench.learners.building import build

SEEDS, C, N, WIDTH = (0, 1, 3), 6, 5, 12
SIZES = (7, 7, 4)
NETWORK: dict[str, Any] = {"kind": "random-relu", "width": WIDTH, "bias": 0.5}


def learner(kind: str, seeds: tuple[int, ...] = SEEDS, **config: Any) -> Analytic:
    """Return a learner on 12 random features of 5 numbers, of 6 classes."""
    declared = catalog.config("learners", kind).model_validate({"kind": kind, "network": NETWORK, **config})
    made = build(declared, Problem((N,), C, seeds, "class-il", CPU, "auto", 9))
    assert isinstance(made, Analytic)
    return made


def tasks(seeds: tuple[int, ...] = SEEDS) -> list[list[Batch]]:
    """Return three tasks of two classes each in batches of 7, 7 and 4; every seed has its own samples."""
    return [
        [
            Batch(
                torch.stack([_inputs(seed, 10 * task + number, size) for seed in seeds]),
                torch.stack([2 * task + torch.arange(size).add(seed + number) % 2 for seed in seeds]),
                torch.ones(C, dtype=torch.bool),
                None,
            )
            for number, size in enumerate(SIZES)
        ]
        for task in range(3)
    ]


def observe(made: Analytic, shown: list[list[Batch]]) -> None:
    """Let the learner learn tasks, each with its end."""
    for task in shown:
        for batch in task:
            made.observe(batch)
        made.end_task()


def held_back(seeds: tuple[int, ...] = SEEDS) -> torch.Tensor:
    """Return inputs (S, 9, 5) to predict."""
    return torch.stack([_inputs(seed, 99, 9) for seed in seeds])


def of_seed(made: Analytic, shown: list[list[Batch]], s: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return one seed's features (n, D), labels (n,) and the number of samples of each task, in float64."""
    inputs = np.concatenate([batch.inputs[s].numpy() for task in shown for batch in task]).astype(np.float64)
    labels = np.concatenate([batch.labels[s].numpy() for task in shown for batch in task])
    return featured(made, inputs, s), labels, [sum(batch.labels.shape[1] for batch in task) for task in shown]


def featured(made: Analytic, inputs: np.ndarray, s: int) -> np.ndarray:
    """Return one seed's random features of inputs (n, 5)."""
    weight, bias = (made.state[f"features.{name}"][s].double().numpy() for name in ("weight", "bias"))
    return np.maximum(inputs @ weight.T + bias, 0)


def ridge(features: np.ndarray, labels: np.ndarray, penalty: float) -> np.ndarray:
    """Return the joint ridge regression of one-hot labels, (D, C)."""
    gram = features.T @ features + penalty * np.eye(features.shape[1])
    return np.linalg.solve(gram, features.T @ np.eye(C)[labels])


def _inputs(seed: int, place: int, size: int) -> torch.Tensor:
    return torch.randn(size, N, generator=torch.Generator().manual_seed(1000 * seed + place))
