"""One level of a continuum memory: a residual two-layer MLP, forward and backward in one call each."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from torch import Tensor

from nlbench.kernels.backends import Backend, Bound, implementation
from nlbench.kernels.shapes import check_shapes

Activation = Literal["gelu", "relu", "silu"]


class BlockWeights(NamedTuple):
    """The parameters of one block, one replica a seed: norm_weight, norm_bias (S, D); up_weight (S, H, D), up_bias (S, H);
    down_weight (S, D, H), down_bias (S, D)."""

    norm_weight: Tensor
    norm_bias: Tensor
    up_weight: Tensor
    up_bias: Tensor
    down_weight: Tensor
    down_bias: Tensor


def block_step(
    x: Tensor, weights: BlockWeights, *, activation: Activation = "gelu", eps: float = 1e-5, backend: Backend | Bound = "auto"
) -> Tensor:
    """y = x + W_down act(W_up norm(x) + b_up) + b_down for rows x (S, N, D), with norm the affine layer norm; y like x.

    Differentiable in x and every weight; the backward pass recomputes the hidden layer. Cost: `4 N D H` floating-point operations
    a seed forward, three times that backward with the recomputation.

    Source: Nested Learning (arXiv 2512.24695), eq. 70 and 97, with the residual and norm it omits for clarity.
    """
    check_shapes(
        "block_step",
        x=(x, "S N D"),
        norm_weight=(weights.norm_weight, "S D"),
        norm_bias=(weights.norm_bias, "S D"),
        up_weight=(weights.up_weight, "S H D"),
        up_bias=(weights.up_bias, "S H"),
        down_weight=(weights.down_weight, "S D H"),
        down_bias=(weights.down_bias, "S D"),
    )
    if activation not in get_args(Activation):
        raise ValueError(f"block_step: activation must be one of {', '.join(get_args(Activation))}, got {activation!r}")
    return implementation(__name__, backend, x).block(x, weights, activation, eps)
