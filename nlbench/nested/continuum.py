"""The continuum memory: MLP blocks that update at different periods, as a chain or as heads.

Levels are named by period, the number of steps between two of their updates. `continuum_update` says when and how they change.

Source: Nested Learning (arXiv 2512.24695), eq. 70-74 and section 7.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from itertools import pairwise
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested.clocks import check_periods
from nlbench.nested.layers import Draws, LayerNorm, Linear, Seeds, Tree, layer_norm, linear
from nlbench.nested.transfer import Transfer, cross

Variant = Literal["sequential", "nested", "headwise"]


def block(parameters: Tree, x: Tensor) -> Tensor:
    """One level: x + W_down gelu(W_up norm(x)), from parameters named as in `Block`; x ((S,) …, D)."""
    hidden = F.gelu(
        linear(layer_norm(x, parameters["norm.weight"], parameters["norm.bias"]), parameters["up.weight"], parameters["up.bias"])
    )
    return x + linear(hidden, parameters["down.weight"], parameters["down.bias"])


class Block(nn.Module):
    """The default level: a residual two-layer MLP whose output projection starts small."""

    def __init__(self, dim: int, hidden: int, draws: Draws) -> None:
        super().__init__()
        self.norm = LayerNorm(dim, draws.within("norm"))
        self.up = Linear(dim, hidden, draws.within("up"))
        self.down = Linear(hidden, dim, draws.within("down"), gain=0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(x))))


class ContinuumMemory(nn.Module):
    """Levels in the order of the chain, each with its period.

    sequential  y = level_k(… level_1(x)); every level keeps what it learned (eq. 70, 73)
    nested      the same chain; each level but the slowest returns to an initial state at its parent's boundary (eq. 72)
    headwise    y = Σ a_l level_l(x), a learned with the slowest level (eq. 74); `softmax` keeps them a distribution

    Parameters are what the levels compute with now; the buffers `initial_…` of a nested memory are the initial states. Only
    `continuum_update` moves either, so a forward pass changes nothing. The levels may be any modules that map D to D.
    """

    def __init__(
        self,
        levels: Sequence[nn.Module],
        periods: Sequence[int],
        *,
        variant: Variant = "sequential",
        transfer: Transfer | str = Transfer.BACKPROP,
        softmax: bool = False,
        seeds: Seeds = 0,
    ) -> None:
        super().__init__()
        if variant not in get_args(Variant):
            raise UnknownNameError("continuum memory", variant, get_args(Variant))
        if len(levels) != len(periods):
            raise NlbenchError(
                f"periods: {len(levels)} levels need as many periods, got {tuple(periods)}.", "Give each level one period."
            )
        self.levels = nn.ModuleList(levels)
        self.periods = check_periods(periods, divisible=variant == "nested")
        self.variant = variant
        self.transfer = Transfer(transfer)
        self.softmax = softmax
        self.mix = Draws.of(seeds).constant(0.0 if softmax else 1 / len(levels), len(levels)) if variant == "headwise" else None
        if variant == "nested":
            for index in range(len(self.levels)):
                if self.periods[index] != max(self.periods):
                    for name, value in self.levels[index].named_parameters():
                        self.register_buffer(_buffer(index, name), value.detach().clone())

    @classmethod
    def of_blocks(
        cls,
        dim: int,
        hidden: int,
        periods: Sequence[int],
        *,
        variant: Variant = "sequential",
        fast_first: bool = False,
        seeds: Seeds = 0,
        draws: Draws | None = None,
    ) -> ContinuumMemory:
        """A memory of default blocks, slow to fast unless `fast_first`, that share `hidden` units between them.

        Slow first is the default because a slow level then sees inputs that do not drift with fast updates.
        """
        draws = draws or Draws.of(seeds)
        periods = sorted(periods, reverse=not fast_first)
        share = hidden // len(periods)
        if share < 1:
            raise NlbenchError(
                f"hidden: {len(periods)} levels need at least one unit each, got {hidden}.", "Raise it or use fewer levels."
            )
        levels = [Block(dim, share, draws.within(f"period{period}")) for period in periods]
        return cls(levels, periods, variant=variant, seeds=draws.seeds if draws.seed_axis else draws.seeds[0])

    def forward(self, x: Tensor) -> Tensor:
        """y like x, ((S,) …, D)."""
        if self.mix is None:
            for index, level in enumerate(self.levels):
                x = level(cross(self.transfer, x) if index else x)
            return x
        mix = self.mix.softmax(-1) if self.softmax else self.mix
        share = mix.view(*mix.shape[:-1], *(1,) * (x.ndim - mix.ndim + 1), mix.shape[-1])
        return (torch.stack([level(x) for level in self.levels], -1) * share).sum(-1)

    def level_parameters(self, index: int) -> dict[str, nn.Parameter]:
        """The parameters that update with level `index`, by their names in this module."""
        own = {f"levels.{index}.{name}": value for name, value in self.levels[index].named_parameters()}
        if self.mix is not None and self.periods[index] == max(self.periods):
            own["mix"] = self.mix
        return own

    def initial_parameters(self, index: int) -> Tree:
        """The initial states of the level's parameters, under the same names; empty unless the level restarts."""
        buffers = dict(self.named_buffers())
        names = [name for name, _ in self.levels[index].named_parameters()]
        return {f"levels.{index}.{name}": buffers[_buffer(index, name)] for name in names if _buffer(index, name) in buffers}


def _buffer(index: int, name: str) -> str:
    return f"initial_{index}_{name.replace('.', '_')}"


def stack_levels(mlp: nn.Sequential, periods: Sequence[int], *, variant: Variant = "sequential") -> ContinuumMemory:
    """A trained MLP as a continuum memory, its layers cut into one run per period; until a level updates, the very same function.

    Each run starts at a layer with parameters and holds an equal share of those (the first runs one more if they do not divide).
    Source: arXiv 2512.24695, section 7.3.
    """
    if variant == "headwise":
        raise NlbenchError("variant: a chain of trained layers cannot become parallel heads.", "Use 'sequential' or 'nested'.")
    starts = [index for index, layer in enumerate(mlp) if any(True for _ in layer.parameters())]
    if len(starts) < len(periods):
        raise NlbenchError(
            f"periods: the MLP has {len(starts)} layers with parameters, got {len(periods)} periods.", "Use fewer levels."
        )
    firsts = [-(-len(starts) * level // len(periods)) for level in range(len(periods))]
    cuts = [0, *(starts[first] for first in firsts[1:]), len(mlp)]
    runs = [nn.Sequential(*deepcopy(list(mlp[begin:end]))) for begin, end in pairwise(cuts)]
    return ContinuumMemory(runs, periods, variant=variant)
