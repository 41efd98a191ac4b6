"""Problems, draws and oracles that tests of networks share."""

from __future__ import annotations

import torch
from small_streams import CPU
from torch import Tensor, nn

from nlbench import Problem
from nlbench.networks.network import Network, Tree

C = 4


def problem(shape: tuple[int, ...] = (1, 8, 8), seeds: tuple[int, ...] = (0, 1, 2), sample: str | None = None) -> Problem:
    return Problem(shape, C, seeds, "class-il", CPU, "auto", 10, sample=sample)  # type: ignore[arg-type]


def images(shape: tuple[int, ...], seeds: int, batch: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(seeds, batch, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def doubled(tree: Tree) -> Tree:
    return {name: value.double() if value.is_floating_point() else value for name, value in tree.items()}


def first(network: Network, seeds: tuple[int, ...] = (0, 1, 2)) -> tuple[Tree, Tree]:
    """Return the first parameters, leaves of float64 and moved off their start so that no norm is trivial, and the state."""
    parameters, state = (doubled(tree) for tree in network.initial(seeds))
    draw = torch.Generator().manual_seed(9)
    for value in parameters.values():
        value += 0.1 * torch.randn(value.shape, generator=draw, dtype=value.dtype)
        value.requires_grad_()
    return parameters, state


def put_into(module: nn.Module, tree: Tree, seed: int) -> None:
    """Copy one seed's tensors into a module that has them by these names."""
    own = {name: value[seed].detach().clone() for name, value in tree.items()}
    missing = module.load_state_dict(own, strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
