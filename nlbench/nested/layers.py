"""Small layers with an optional seed axis, and the named draws that initialise them.

A module built with `seeds=3` is an ordinary module: seed 3 decides its initial values and no tensor has a seed axis. Built with
`seeds=(3, 4, 5)` it holds three independent replicas: the seed axis S comes first on its inputs, parameters, states and outputs.
Replica s is the ordinary module of the same seed.

Letters: S seeds, B rows, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nlbench.seeds import normal

Tree = dict[str, Tensor]
"""Named tensors: the parameters of a level, or the state of a stream."""

Seeds = int | Sequence[int]


@dataclass(frozen=True, slots=True)
class Draws:
    """Where the initial values of a module come from: its seeds, and its own path within the model."""

    seeds: tuple[int, ...]
    seed_axis: bool
    path: str = "init"

    @classmethod
    def of(cls, seeds: Seeds) -> Draws:
        """The draws of one seed (an int: no seed axis) or of several (a sequence: seed axis first)."""
        return cls((seeds,), False) if isinstance(seeds, int) else cls(tuple(seeds), True)

    def within(self, name: str) -> Draws:
        """The draws of the part called `name`."""
        return Draws(self.seeds, self.seed_axis, f"{self.path}/{name}")

    def normal(self, name: str, *shape: int, std: float) -> nn.Parameter:
        """A parameter of shape ((S,) *shape) drawn from N(0, std²), for each seed its own."""
        values = torch.from_numpy(normal(self.seeds, f"{self.path}/{name}", shape)).to(torch.get_default_dtype()) * std
        return nn.Parameter(values if self.seed_axis else values[0])

    def constant(self, value: float, *shape: int) -> nn.Parameter:
        """A parameter of shape ((S,) *shape) that starts at `value`."""
        return nn.Parameter(torch.full((len(self.seeds), *shape) if self.seed_axis else shape, value))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b for x (…, D_in), weight (D_out, D_in); or, seed by seed, x (S, …, D_in), weight (S, D_out, D_in)."""
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    rows = x.reshape(x.shape[0], -1, x.shape[-1])
    y = rows @ weight.mT if bias is None else torch.baddbmm(bias[:, None], rows, weight.mT)
    return y.view(*x.shape[:-1], weight.shape[-2])


def along_seeds(parameter: Tensor, x: Tensor) -> Tensor:
    """A per-feature parameter (D) or (S, D) with the axes it needs to broadcast against x ((S,) …, D)."""
    return parameter if parameter.ndim == 1 else parameter.view(parameter.shape[0], *(1,) * (x.ndim - 2), parameter.shape[-1])


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x with zero mean and unit variance along its last axis, then scaled and shifted by weight and bias, (D) or (S, D)."""
    if weight.ndim == 1:
        return F.layer_norm(x, x.shape[-1:], weight, bias)
    return torch.addcmul(along_seeds(bias, x), F.layer_norm(x, x.shape[-1:]), along_seeds(weight, x))


def unit(x: Tensor) -> Tensor:
    """x / ‖x‖ along the last axis; the zero vector stays zero and has a finite gradient."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-12)


class Linear(nn.Module):
    """x Wᵀ + b, seed by seed; W starts at N(0, gain² / D_in), b at 0."""

    def __init__(self, d_in: int, d_out: int, draws: Draws, *, gain: float = 1.0, bias: bool = True) -> None:
        super().__init__()
        self.weight = draws.normal("weight", d_out, d_in, std=gain * d_in**-0.5)
        self.bias = draws.constant(0.0, d_out) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class LayerNorm(nn.Module):
    """Layer normalisation, seed by seed."""

    def __init__(self, dim: int, draws: Draws) -> None:
        super().__init__()
        self.weight = draws.constant(1.0, dim)
        self.bias = draws.constant(0.0, dim)

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.weight, self.bias)


class _Convolved(torch.autograd.Function):
    """Σ_i w_i tokens[i : i + L] for tokens ((S,) …, L + window - 1, D) and w ((S,) window, D): autograd would keep a copy of the
    tokens for each w_i and add up as many that are zero but for L rows.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(tokens: Tensor, weight: Tensor) -> Tensor:
        window = weight.shape[-2]
        length = tokens.shape[-2] - window + 1
        sums = along_seeds(weight[..., 0, :], tokens) * tokens[..., :length, :]
        for i in range(1, window):
            sums = torch.addcmul(sums, along_seeds(weight[..., i, :], tokens), tokens[..., i : i + length, :])
        return sums

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        tokens, weight = ctx.saved_tensors
        window, length = weight.shape[-2], gradient.shape[-2]
        padded = F.pad(gradient, (0, 0, window - 1, window - 1))
        back = _Convolved.apply(padded, weight.flip(-2))
        summed = list(range(weight.ndim - 2, tokens.ndim - 1))
        found = [(gradient * tokens[..., i : i + length, :]).sum(summed) for i in range(window)]
        return back, torch.stack(found, -2)


class CausalConvolution(nn.Module):
    """A depthwise convolution over the current token and the `window - 1` before it, which a stream carries as its tail.

    It starts as the current token plus a little of the others.
    """

    def __init__(self, dim: int, draws: Draws, *, window: int = 4) -> None:
        super().__init__()
        self.window = window
        self.weight = draws.normal("weight", window, dim, std=0.1)
        with torch.no_grad():
            self.weight[..., -1, :] += 1.0

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """The convolved tokens and the new tail: x ((S,) B, L, D), tail ((S,) B, window - 1, D)."""
        tokens = torch.cat([tail, x], -2)
        return _Convolved.apply(tokens, self.weight), tokens[..., x.shape[-2] :, :]
