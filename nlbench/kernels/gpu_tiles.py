"""Tiles of small matrices in Triton: what the chunked scans on a GPU are made of.

Letters as in the reference of `memory_scan`; a tile holds C tokens, and rows past its last token are padding: keys and rates 0,
gates 1. LOW says that the tensors are bfloat16: products of tokens and states then round their factors to it and add up in
float32, and products of masks use tf32; otherwise every product is an IEEE float32 one.
"""

from __future__ import annotations

import os
from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED: Final = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")

GIVEN: Final = tl.constexpr(0)
MINUS_PREDICTION: Final = tl.constexpr(1)
SELF_GENERATED: Final = tl.constexpr(2)
NO_READ: Final = tl.constexpr(0)
STALE: Final = tl.constexpr(1)
EXACT: Final = tl.constexpr(2)


def padded(size: int, least: int = 16) -> int:
    """The smallest power of two that holds `size` and is at least `least`, which products need."""
    return max(least, triton.next_power_of_2(size))


def flat(tensor: Tensor | None, axes: int, like: Tensor) -> Tensor:
    """The tensor contiguous with its first `axes` axes as one; `like`, never read, in place of no tensor."""
    return like if tensor is None else tensor.detach().contiguous().flatten(0, axes - 1)


def empty(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor for a kernel to fill; the tests fill it with NaN first."""
    return like.new_empty(shape, dtype=dtype)


@triton.jit
def product(a, b, LOW: tl.constexpr):
    """a @ b in float32, of factors rounded to bfloat16 if LOW."""
    if LOW:
        if INTERPRETED:  # the interpreter's products know no bfloat16; those of its values are the same numbers
            return tl.dot(a.to(tl.bfloat16).to(tl.float32), b.to(tl.bfloat16).to(tl.float32), input_precision="ieee")
        else:
            return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16))
    else:
        return tl.dot(a, b, input_precision="ieee")


@triton.jit
def mask_product(a, b, LOW: tl.constexpr):
    """a @ b of float32 masks and inverses."""
    if LOW:
        return tl.dot(a, b, input_precision="tf32")
    else:
        return tl.dot(a, b, input_precision="ieee")


@triton.jit
def load_rows(pointer, start, stop, first, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Rows start … stop - 1, columns first … of a matrix WIDTH wide, padded with zeros to (ROWS, COLUMNS), in float32."""
    row = start + tl.arange(0, ROWS)
    column = first + tl.arange(0, COLUMNS)
    inside = (row < stop)[:, None] & (column < WIDTH)[None, :]
    return tl.load(pointer + row[:, None] * WIDTH + column[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def store_rows(pointer, values, start, stop, first, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The inverse of `load_rows`."""
    row = start + tl.arange(0, ROWS)
    column = first + tl.arange(0, COLUMNS)
    inside = (row < stop)[:, None] & (column < WIDTH)[None, :]
    tl.store(pointer + row[:, None] * WIDTH + column[None, :], values.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def load_gates(pointer, start, stop, other, C: tl.constexpr):
    """One number a token, `other` for padding, in float32."""
    token = start + tl.arange(0, C)
    return tl.load(pointer + token, mask=token < stop, other=other).to(tl.float32)


@triton.jit
def store_gates(pointer, values, start, stop, C: tl.constexpr):
    """The inverse of `load_gates`."""
    token = start + tl.arange(0, C)
    tl.store(pointer + token, values.to(pointer.dtype.element_ty), mask=token < stop)


@triton.jit
def tile_span(tile, tokens, chunk, per_chunk, C: tl.constexpr):
    """First token of a tile and the token after its last: `per_chunk` tiles of up to C tokens make a chunk."""
    first = (tile // per_chunk) * chunk
    start = first + (tile % per_chunk) * C
    return start, tl.minimum(tl.minimum(start + C, first + chunk), tokens)


@triton.jit
def products_between(previous, C: tl.constexpr):
    """Λ[t, i]: the product of the gates strictly between tokens i < t, else zero; previous[t] is gate t - 1."""
    token = tl.arange(0, C)
    factors = tl.where(token[:, None] > token[None, :] + 1, previous[:, None], 1.0)
    return tl.where(token[:, None] > token[None, :], tl.cumprod(factors, 0), 0.0)


@triton.jit
def products_after(gates, following, C: tl.constexpr):
    """s_i, the product of the gates after token i, and γ_C, the product of all; following[t] is gate t + 1."""
    after = tl.cumprod(following, 0, reverse=True)
    return after, tl.sum(tl.where(tl.arange(0, C) == 0, gates * after, 0.0), 0)


@triton.jit
def load_previous(pointer, start, stop, C: tl.constexpr):
    """The gate before every token of the tile, 1 before its first."""
    token = tl.arange(0, C)
    return tl.load(pointer + start + token - 1, mask=(token > 0) & (start + token <= stop), other=1.0).to(tl.float32)


@triton.jit
def prefix_products(pointer, start, stop, C: tl.constexpr):
    """γ̄_t: the product of the gates before token t of the tile."""
    return tl.cumprod(load_previous(pointer, start, stop, C), 0)


@triton.jit
def suffix_products(pointer, start, stop, C: tl.constexpr):
    """`products_after` of the tile's gates."""
    return products_after(load_gates(pointer, start, stop, 1.0, C), load_gates(pointer, start + 1, stop, 1.0, C), C)


@triton.jit
def between_products(pointer, start, stop, C: tl.constexpr):
    """`products_between` of the tile's gates."""
    return products_between(load_previous(pointer, start, stop, C), C)


@triton.jit
def products_backward(between, before, after, d_between, d_before, d_after, d_total, LOW: tl.constexpr):
    """The gradient of every gate from those of its `between_products`, prefix and suffix products and γ_C.

    A gate l stands between i and t where Λ[t, i] holds Λ[t, l] α_l Λ[l, i]: no division, so a gate may be 0.
    """
    later = tl.sum(between * d_before[:, None], 0)
    through = mask_product(tl.trans(between), d_between, LOW) + after[:, None] * d_after[None, :]
    return tl.sum(between * through, 1) + before * (later + d_total * after)


@triton.jit
def unit_lower_inverse(A, C: tl.constexpr, LOW: tl.constexpr):
    """(I + A)⁻¹ for A (C, C) given below its diagonal, by forward substitution.

    First row by row inside all diagonal 16 × 16 blocks at once, then block row by block row. No powers of A: with similar keys
    those grow far beyond the inverse.
    """
    N: tl.constexpr = C // 16
    block = tl.arange(0, N)
    row = tl.arange(0, 16)
    same = (block[:, None] == block[None, :])[:, None, :, None]
    diagonal = tl.sum(tl.where(same, tl.reshape(A, (N, 16, N, 16)), 0.0), 2)
    inverse = tl.where((row[:, None] == row[None, :])[None, :, :], 1.0, tl.zeros((N, 16, 16), tl.float32))
    for i in range(1, 16):
        chosen = (row == i)[None, :, None]
        weights = tl.sum(tl.where(chosen, diagonal, 0.0), 1)
        change = tl.sum(weights[:, :, None] * inverse, 1)
        inverse = tl.where(chosen, inverse - change[:, None, :], inverse)
    blocks = tl.reshape(tl.where(same, inverse[:, :, None, :], 0.0), (C, C))
    if N == 1:
        return blocks
    else:
        token = tl.arange(0, C)
        below = (token // 16)[:, None] > (token // 16)[None, :]
        coupling = mask_product(blocks, tl.where(below, A, 0.0), LOW)
        found = blocks
        for b in tl.static_range(1, N):
            found = tl.where((token // 16 == b)[:, None], blocks - mask_product(coupling, found, LOW), found)
        return found
