"""A trial step of a new learner, before the clock runs."""

from __future__ import annotations

from typing import Final

import torch

from nlbench.batch import Batch, Learner, Problem

SAMPLES: Final = 64
"""Of the batch that is made: kernels are compiled for sizes of batches, and this one is common."""


def try_on_gpu(learner: Learner, problem: Problem) -> None:
    """On a CUDA device, let a new learner observe one made batch and put it back: what the first step loads or compiles there is
    not timed as training. Elsewhere nothing happens.
    """
    if problem.device.type == "cuda":
        observe_made(learner, problem)


def observe_made(learner: Learner, problem: Problem) -> None:
    """Let the learner observe one made batch, and put it back."""
    state = {name: value.clone() for name, value in learner.state_dict().items()}
    seeds, device = len(problem.seeds), problem.device
    inputs = torch.arange(seeds * SAMPLES * problem.n_inputs, device=device).sin().view(seeds, SAMPLES, *problem.input_shape)
    labels = (torch.arange(SAMPLES, device=device) % problem.n_classes).repeat(seeds, 1)
    with torch.no_grad():
        learner.observe(Batch(inputs, labels, torch.ones(problem.n_classes, dtype=torch.bool, device=device), None))
    learner.load_state_dict(state)
