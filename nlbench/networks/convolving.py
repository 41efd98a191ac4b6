"""How a GPU convolves the images of many seeds where the groups of cuDNN, which walk from group to group, are slow.

Images lie as in `layers`: (B, S C, H, W).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

from nlbench.networks.network import Tree

FEW: Final = 64
"""Channels out up to which each sample's share of a weight's gradient is a product of its own, and the shares are added: a matrix
of so few rows keeps a GPU busy only where there are many.
"""


def convolution(x: Tensor, weight: Tensor, *, stride: int = 1, padding: int = 1) -> Tensor:
    """Return the convolution (B, S O, H', W') of x (B, S C, H, W) with weight (S, O, C, k, k).

    The weight's gradient is a product with x's windows (im2col: Chellapilla, Puri & Simard 2006), k² times as large as x and held
    on the way back alone. Differentiable once.
    """
    convolved: Tensor = _Convolution.apply(x, weight, stride, padding)
    return convolved


def weight_gradient(x: Tensor, grad: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """Return (S, O, C, k, k): for each weight, the sum over samples and places of the gradient there times what it saw of x.

    x (B, S C, H, W); grad (B, S O, H', W'), the gradient of what x was convolved to; of weight, only the shape is read.
    """
    seeds, c_out, *_, side = weight.shape
    windows = F.pad(x, [padding] * 4).unfold(2, side, stride).unfold(3, side, stride).unflatten(1, (seeds, -1))
    windows, grad = windows.permute(1, 2, 5, 6, 0, 3, 4), grad.unflatten(1, (seeds, -1)).movedim(0, 2)
    if c_out > FEW:  # (S, O, B H' W') (S, B H' W', C k k)
        return torch.bmm(grad.flatten(2), windows.flatten(4).flatten(1, 3).mT).view_as(weight)
    grad, windows = grad.movedim(2, 1).flatten(3), windows.movedim(4, 1).flatten(5).flatten(2, 4)  # samples apart
    return torch.bmm(grad.flatten(0, 1), windows.flatten(0, 1).mT).unflatten(0, (seeds, -1)).sum(1).view_as(weight)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight.flatten(0, 1), None, stride, padding, groups=len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (x, weight), stride, padding = ctx.saved_tensors, ctx.stride, ctx.padding
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            size, groups = (stride, stride), len(weight)
            of_x = conv2d_input(x.shape, weight.flatten(0, 1), grad, size, padding, groups=groups)
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(x, grad, weight, stride, padding)
        return of_x, of_weight, None, None


def seeds_apart(
    apply: Callable[[Tree, Tree, Tensor], tuple[Tensor, Tree]], parameters: Tree, state: Tree, inputs: Tensor
) -> tuple[Tensor, Tree]:
    """Return features and state as `apply` makes them of each seed alone, put together; on a GPU, seeds run beside each other.

    inputs (1 or S, B, …)
    """
    seeds = len(next(iter(parameters.values())))
    own, kept = ({name: value.unbind() for name, value in tree.items()} for tree in (parameters, state))
    found = []
    with _beside(inputs.device, seeds) as streams:
        for seed in range(seeds):
            with torch.cuda.stream(streams[seed]):  # which does nothing where there is none
                parameters, state = ({name: value[seed][None] for name, value in tree.items()} for tree in (own, kept))
                found.append(apply(parameters, state, inputs[seed % len(inputs)][None]))
    features, after = zip(*found, strict=True)
    return torch.cat(features), {name: torch.cat([tree[name] for tree in after]) for name in after[0]}


@contextmanager
def _beside(device: torch.device, count: int) -> Iterator[Sequence[torch.cuda.Stream | None]]:
    """So many streams of a GPU, which begin when the current one has come here, and which it waits for; none on a CPU."""
    if device.type != "cuda":
        yield [None] * count
        return
    here, streams = torch.cuda.current_stream(device), _streams(device, count)
    for stream in streams:
        stream.wait_stream(here)
    yield streams
    for stream in streams:
        here.wait_stream(stream)


@cache
def _streams(device: torch.device, count: int) -> list[torch.cuda.Stream]:
    return [torch.cuda.Stream(device) for _ in range(count)]
