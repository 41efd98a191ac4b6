"""The residual block on a GPU: one launch forward, two backward; the hidden layer never leaves the chip.

Forward and the gradient of x: a program per seed and BN rows, the hidden units in tiles of BH. The gradients of the weights: a
program per seed and BH hidden units, the rows in turn. Cost: that of the op in operations; x, y and, per row tile, every weight.
"""

from __future__ import annotations

from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.errors import BackendError
from nlbench.kernels.block_step import BlockWeights
from nlbench.kernels.gpu_tiles import empty, load_rows, padded, product, store_gates, store_rows

ACTIVATIONS: Final = {"gelu": 0, "relu": 1, "silu": 2}
WIDEST: Final = 256
"""The largest D whose rows a program can hold beside its tiles of the weights."""


@triton.jit
def activated(z, ACTIVATION: tl.constexpr):
    """act(z) and its derivative."""
    if ACTIVATION == 0:
        below = 0.5 * (1.0 + tl.erf(z * 0.7071067811865476))
        return z * below, below + z * tl.exp(-0.5 * z * z) * 0.3989422804014327
    elif ACTIVATION == 1:
        return tl.where(z < 0, 0.0, z), tl.where(z > 0, 1.0, 0.0)
    else:
        share = 1 / (1 + tl.exp(-z))
        return z * share, share * (1 + z * (1 - share))


@triton.jit
def normalised(x, eps, D: tl.constexpr, BD: tl.constexpr):
    """Rows x of mean 0 and variance 1 over their D columns, and the scale that made them so."""
    column = (tl.arange(0, BD) < D)[None, :]
    centred = tl.where(column, x - (tl.sum(x, 1) / D)[:, None], 0.0)
    scale = 1 / tl.sqrt(tl.sum(centred * centred, 1) / D + eps)
    return centred * scale[:, None], scale


@triton.jit(do_not_specialize=("rows", "tiles"))
def forward(
    x,
    norm_weight,
    norm_bias,
    up_weight,
    up_bias,
    down_weight,
    down_bias,
    y,
    rows,
    tiles,
    eps,
    D: tl.constexpr,
    H: tl.constexpr,
    BN: tl.constexpr,
    BH: tl.constexpr,
    BD: tl.constexpr,
    ACTIVATION: tl.constexpr,
    LOW: tl.constexpr,
):
    """The block's output for BN rows of one seed."""
    seed = (tl.program_id(0) // tiles).to(tl.int64)
    first = (tl.program_id(0) % tiles) * BN
    own = load_rows(x + seed * rows * D, first, rows, 0, D, BN, BD)
    unit, _scale = normalised(own, eps, D, BD)
    z = unit * load_rows(norm_weight + seed * D, 0, 1, 0, D, 1, BD) + load_rows(norm_bias + seed * D, 0, 1, 0, D, 1, BD)
    total = own + load_rows(down_bias + seed * D, 0, 1, 0, D, 1, BD)
    for h in range(0, H, BH):
        hidden = product(z, tl.trans(load_rows(up_weight + seed * H * D, h, H, 0, D, BH, BD)), LOW)
        hidden += load_rows(up_bias + seed * H, 0, 1, h, H, 1, BH)
        active, _slope = activated(hidden, ACTIVATION)
        total += product(active, tl.trans(load_rows(down_weight + seed * D * H, 0, D, h, H, BD, BH)), LOW)
    store_rows(y + seed * rows * D, total, first, rows, 0, D, BN, BD)


@triton.jit(do_not_specialize=("rows", "tiles"))
def rows_backward(
    x,
    norm_weight,
    norm_bias,
    up_weight,
    up_bias,
    down_weight,
    dy,
    dx,
    d_norm,
    rows,
    tiles,
    eps,
    D: tl.constexpr,
    H: tl.constexpr,
    BN: tl.constexpr,
    BH: tl.constexpr,
    BD: tl.constexpr,
    ACTIVATION: tl.constexpr,
    LOW: tl.constexpr,
):
    """The gradient of BN rows x, and these rows' share of those of norm_weight and norm_bias."""
    seed = (tl.program_id(0) // tiles).to(tl.int64)
    first = (tl.program_id(0) % tiles) * BN
    unit, scale = normalised(load_rows(x + seed * rows * D, first, rows, 0, D, BN, BD), eps, D, BD)
    weight = load_rows(norm_weight + seed * D, 0, 1, 0, D, 1, BD)
    z = unit * weight + load_rows(norm_bias + seed * D, 0, 1, 0, D, 1, BD)
    d = load_rows(dy + seed * rows * D, first, rows, 0, D, BN, BD)
    dz = tl.zeros((BN, BD), tl.float32)
    for h in range(0, H, BH):
        up = load_rows(up_weight + seed * H * D, h, H, 0, D, BH, BD)
        hidden = product(z, tl.trans(up), LOW) + load_rows(up_bias + seed * H, 0, 1, h, H, 1, BH)
        _active, slope = activated(hidden, ACTIVATION)
        d_hidden = slope * product(d, load_rows(down_weight + seed * D * H, 0, D, h, H, BD, BH), LOW)
        dz += product(d_hidden, up, LOW)
    row, column = first + tl.arange(0, BN), tl.arange(0, BD)
    inside = (row < rows)[:, None] & (column < D)[None, :]
    dz = tl.where(inside, dz, 0.0)
    d_norm += (seed * tiles + tl.program_id(0) % tiles) * 2 * D
    store_gates(d_norm, tl.sum(dz * unit, 0), 0, D, BD)
    store_gates(d_norm + D, tl.sum(dz, 0), 0, D, BD)
    dz *= weight
    along = tl.sum(dz * unit, 1) / D
    found = d + scale[:, None] * (dz - (tl.sum(dz, 1) / D)[:, None] - along[:, None] * unit)
    store_rows(dx + seed * rows * D, found, first, rows, 0, D, BN, BD)


@triton.jit(do_not_specialize=("rows",))
def weights_backward(
    x,
    norm_weight,
    norm_bias,
    up_weight,
    up_bias,
    down_weight,
    dy,
    d_up,
    d_up_bias,
    d_down,
    rows,
    eps,
    D: tl.constexpr,
    H: tl.constexpr,
    BN: tl.constexpr,
    BH: tl.constexpr,
    BD: tl.constexpr,
    ACTIVATION: tl.constexpr,
    LOW: tl.constexpr,
):
    """The gradients of the weights into and out of BH hidden units of one seed."""
    slices: tl.constexpr = (H + BH - 1) // BH
    seed = (tl.program_id(0) // slices).to(tl.int64)
    h = (tl.program_id(0) % slices) * BH
    up = load_rows(up_weight + seed * H * D, h, H, 0, D, BH, BD)
    down = load_rows(down_weight + seed * D * H, 0, D, h, H, BD, BH)
    bias = load_rows(up_bias + seed * H, 0, 1, h, H, 1, BH)
    weight = load_rows(norm_weight + seed * D, 0, 1, 0, D, 1, BD)
    shift = load_rows(norm_bias + seed * D, 0, 1, 0, D, 1, BD)
    into, out, bias_total = tl.zeros((BH, BD), tl.float32), tl.zeros((BD, BH), tl.float32), tl.zeros((BH,), tl.float32)
    for first in range(0, rows, BN):
        unit, _scale = normalised(load_rows(x + seed * rows * D, first, rows, 0, D, BN, BD), eps, D, BD)
        z = unit * weight + shift
        d = load_rows(dy + seed * rows * D, first, rows, 0, D, BN, BD)  # zero in rows of padding
        active, slope = activated(product(z, tl.trans(up), LOW) + bias, ACTIVATION)
        d_hidden = slope * product(d, down, LOW)
        into += product(tl.trans(d_hidden), z, LOW)
        out += product(tl.trans(d), active, LOW)
        bias_total += tl.sum(d_hidden, 0)
    store_rows(d_up + seed * H * D, into, h, H, 0, D, BH, BD)
    store_rows(d_down + seed * D * H, out, 0, D, h, H, BD, BH)
    store_gates(d_up_bias + seed * H, bias_total, h, H, BH)


def _sizes(x: Tensor, hidden: int, activation: int) -> dict[str, Any]:
    """Sizes and launch options of all three kernels."""
    most = 32 if x.shape[2] <= 128 else 16
    rows = {"BN": min(most, padded(x.shape[1])), "BH": min(most, padded(hidden)), "BD": padded(x.shape[2])}
    options = {
        "ACTIVATION": activation,
        "LOW": x.dtype == torch.bfloat16,
        "num_warps": 8 if x.shape[2] > 64 else 4,
        "num_stages": 2,
    }
    return {"D": x.shape[2], "H": hidden, **rows, **options}


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, activation, eps, *weights):  # type: ignore[no-untyped-def]
        x, weights = x.contiguous(), [each.contiguous() for each in weights]
        sizes = _sizes(x, weights[2].shape[1], activation)
        y, tiles = empty(x.shape, x), triton.cdiv(x.shape[1], sizes["BN"])
        if tiles:
            forward[(x.shape[0] * tiles,)](x, *weights, y, x.shape[1], tiles, eps, **sizes)
        ctx.save_for_backward(x, *weights)
        ctx.options = sizes, eps
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, dy):  # type: ignore[no-untyped-def]
        (x, *weights), (sizes, eps) = ctx.saved_tensors, ctx.options
        seeds, rows, width = x.shape
        inputs, dy, tiles = weights[:5], dy.contiguous(), triton.cdiv(rows, sizes["BN"])
        dx, d_norm = empty(x.shape, x), empty((seeds, tiles, 2, width), x, torch.float32)
        if tiles:
            rows_backward[(seeds * tiles,)](x, *inputs, dy, dx, d_norm, rows, tiles, eps, **sizes)
        d_up, d_up_bias, d_down = (empty(each.shape, x) for each in (weights[2], weights[3], weights[4]))
        grid = (seeds * triton.cdiv(sizes["H"], sizes["BH"]),)
        weights_backward[grid](x, *inputs, dy, d_up, d_up_bias, d_down, rows, eps, **sizes)
        d_norm = d_norm.sum(1).to(x.dtype)
        return dx, None, None, d_norm[:, 0], d_norm[:, 1], d_up, d_up_bias, d_down, dy.sum(1)


def block(x: Tensor, weights: BlockWeights, activation: str, eps: float) -> Tensor:
    """The block's output; arguments as in `block_step`. Raises `BackendError` for rows too wide for one program."""
    if x.shape[2] > WIDEST:
        raise BackendError(
            f"backend 'triton' cannot run block_step on rows {x.shape[2]} wide: it holds at most {WIDEST}.",
            "Use --backend reference.",
        )
    return _Block.apply(x, ACTIVATIONS[activation], eps, *weights)
