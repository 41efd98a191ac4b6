"""First values of layers, each drawn by its name alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import erf, sqrt

import torch
from torch import Tensor

from nlbench import seeds as draws
from nlbench.networks.network import Tree


def linear(seeds: Sequence[int], name: str, d_in: int, d_out: int, gain: float = 1.0, *, spread: float | None = None) -> Tree:
    """Return a weight (S, d_out, d_in) and a bias (S, d_out), uniform within gain / sqrt(d_in), as torch.nn.Linear starts.

    spread  in place of that, weights are drawn from N(0, spread²) cut at two deviations, and biases are `spread`
    """
    if spread is None:
        return uniform(seeds, name, (d_out, d_in), gain * d_in**-0.5)
    within = torch.tensor(draws.uniform(seeds, f"init/{name}.weight", (d_out, d_in), erf(sqrt(2))))
    weight = (sqrt(2) * spread * within.double().erfinv()).float()
    return {f"{name}.weight": weight, f"{name}.bias": torch.full((len(seeds), d_out), spread)}


def uniform(seeds: Sequence[int], name: str, shape: tuple[int, ...], bound: float) -> Tree:
    """Return a weight (S, *shape) and a bias (S, shape[0]), uniform within the bound."""
    weight = draws.uniform(seeds, f"init/{name}.weight", shape, bound)
    bias = draws.uniform(seeds, f"init/{name}.bias", shape[:1], bound)
    # copies in torch's own memory: products round differently on other alignments, and a resumed learner has that one
    return {f"{name}.weight": torch.tensor(weight), f"{name}.bias": torch.tensor(bias)}


def normal(seeds: Sequence[int], name: str, shape: tuple[int, ...], std: float) -> Tensor:
    """Return a weight (S, *shape) drawn from N(0, std²)."""
    return torch.tensor(draws.normal(seeds, f"init/{name}.weight", shape)) * std


@contextmanager
def seeded(seed: int, purpose: str, device: torch.device | None = None) -> Iterator[None]:
    """Let what torch draws from its global generators here be decided by seed and purpose alone; they are put back afterwards.

    device  one whose generator is seeded beside the CPU's.
    """
    gpus = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        number = int(draws.generator(seed, purpose).integers(2**63))
        torch.default_generator.manual_seed(number)
        for gpu in gpus:
            torch.cuda.default_generators[gpu.index or 0].manual_seed(number)
        yield
