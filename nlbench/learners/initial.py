"""Initial values of learners' layers, drawn by name."""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench import seeds as draws
from nlbench.batch import Problem


def linear(problem: Problem, name: str, d_in: int, d_out: int, gain: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return a weight (S, d_out, d_in) and a bias (S, d_out), uniform within gain / sqrt(d_in), as torch.nn.Linear starts."""
    bound = gain * d_in**-0.5
    weight = draws.uniform(problem.seeds, f"init/{name}.weight", (d_out, d_in), bound)
    bias = draws.uniform(problem.seeds, f"init/{name}.bias", (d_out,), bound)
    # copies in torch's own memory: products round differently on other alignments, and a resumed learner has that one
    return torch.tensor(weight, device=problem.device), torch.tensor(bias, device=problem.device)
