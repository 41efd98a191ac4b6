"""Layers of all seeds in one call each. A name finds a layer's parameters, and names it to taps.

Images lie as (B, S C, H, W), the channels of one seed beside each other: then S networks are one whose convolutions have S
groups, and norms need no word of seeds.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.networks.network import Taps, Tree

MOMENTUM: Final = 0.1
"""The weight of a batch in running statistics, as torch's."""


def linear(parameters: Tree, name: str, x: Tensor, taps: Taps | None = None) -> Tensor:
    """Return x Wᵀ + b, (S, B, D_out), of x (1 or S, B, D_in)."""
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    if len(x) != len(weight):  # samples that all seeds share
        x = x.expand(len(weight), -1, -1)
    # W xᵀ, seen from the other side: the weight's gradient comes out in the order in which the weight lies
    y = torch.baddbmm(bias[:, :, None], weight, x.mT).mT
    return y if taps is None else taps(name, x, y)


def convolution(parameters: Tree, name: str, x: Tensor, taps: Taps | None = None, *, stride: int = 1, padding: int = 1) -> Tensor:
    """Return the convolution (B, S O, H', W') of x (B, S C, H, W) with weight (S, O, C, k, k), and a bias where there is one."""
    weight, bias = parameters[f"{name}.weight"], parameters.get(f"{name}.bias")
    seeds = len(weight)
    y = F.conv2d(x, weight.flatten(0, 1), bias if bias is None else bias.flatten(), stride, padding, groups=seeds)
    return _tapped(taps, name, seeds, x, y)


def batch_norm(
    parameters: Tree, state: Tree, name: str, x: Tensor, taps: Taps | None = None, *, training: bool
) -> tuple[Tensor, Tree]:
    """Return x (B, S C, H, W) normalised, and the running statistics after it: torch.nn.BatchNorm2d, a seed's own.

    In training by the batch's own statistics, unless they would be of one value a channel, which has no variance.
    """
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    names = f"{name}.running_mean", f"{name}.running_var"
    mean, variance = (state[each] for each in names)
    training = training and x.numel() > x.shape[1]
    if training:
        mean, variance = mean.clone(), variance.clone()
    y = F.batch_norm(x, mean.flatten(), variance.flatten(), weight.flatten(), bias.flatten(), training, MOMENTUM)
    return _tapped(taps, name, len(weight), x, y), dict(zip(names, (mean, variance), strict=True))


def group_norm(parameters: Tree, name: str, x: Tensor, taps: Taps | None = None, *, groups: int) -> Tensor:
    """Return x (B, S C, H, W) normalised within `groups` groups of each sample's channels, a seed's own."""
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    y = F.group_norm(x, len(weight) * groups, weight.flatten(), bias.flatten())
    return _tapped(taps, name, len(weight), x, y)


def seeds_in_channels(images: Tensor, seeds: int) -> Tensor:
    """Return (B, S C, H, W) of images (1 or S, B, C, H, W)."""
    return images.expand(seeds, *images.shape[1:]).transpose(0, 1).flatten(1, 2)


def seeds_first(x: Tensor, seeds: int) -> Tensor:
    """Return (S, B, C, …) of x (B, S C, …)."""
    return x.unflatten(1, (seeds, -1)).transpose(0, 1)


def _tapped(taps: Taps | None, name: str, seeds: int, x: Tensor, y: Tensor) -> Tensor:
    if taps is None:
        return y
    return seeds_in_channels(taps(name, seeds_first(x, seeds), seeds_first(y, seeds)), seeds)
