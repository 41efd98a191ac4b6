"""Tiles of small matrices in Triton: what the chunked scans on a GPU are made of.

Letters as in the reference of `memory_scan`; a tile holds C tokens, and rows past its last token are padding: keys and rates 0,
gates 1. LOW says that the tensors are bfloat16: products of tokens and states then round their factors to it and add up in
float32, and products of masks use tf32; otherwise every product is an IEEE float32 one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

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
    return max(least, 1 << (size - 1).bit_length())


def flat(tensor: Tensor | None, axes: int, like: Tensor) -> Tensor:
    """The tensor contiguous with its first `axes` axes as one; `like`, never read, in place of no tensor."""
    return like if tensor is None else tensor.detach().contiguous().flatten(0, axes - 1)


def empty(shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor for a kernel to fill; the tests fill it with NaN first."""
    return like.new_empty(shape, dtype=dtype)


@contextmanager
def within_warps() -> Iterator[None]:
    """Compile the kernels first launched inside to products by single warps.

    Triton 3.4 to 3.7 miscompiles kernels of several products by warp groups for compute capability 9.0: wrong numbers or illegal
    addresses from tiles of 64 rows on (triton-lang/triton#11366, fla-org/flash-linear-attention#640 and #984). These kernels
    showed both on an H200 with Triton 3.6.
    """
    name = "DISABLE_MMA_V3"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class Launch:
    """A kernel with its last arguments, `sizes` by name: integers that it must not specialise itself on, and constants.

    Triton looks a kernel up by all its arguments at every call, in some twenty microseconds. Here the types of the tensors are
    enough, which takes a few; tensors that do not start at a multiple of 16 bytes go Triton's way.
    """

    def __init__(self, kernel: Any, sizes: Mapping[str, Any], warps: int, stages: int) -> None:
        self.kernel = kernel
        self.sizes = [sizes[name] for name in kernel.arg_names if name in sizes]
        self.options = {"num_warps": warps, "num_stages": stages}
        self.compiled: dict[tuple[Any, ...], Any] = {}

    def __call__(self, programs: int, *tensors: Tensor) -> None:
        """Run so many programs on the current stream."""
        kinds = (tensors[0].device, *[each.dtype for each in tensors])
        pointers = [each.data_ptr() for each in tensors]
        aligned = all(pointer % 16 == 0 for pointer in pointers)
        compiled = self.compiled.get(kinds) if aligned else None
        if compiled is not None:
            compiled[(programs, 1, 1)](*pointers, *self.sizes)
            return
        with within_warps():
            compiled = self.kernel[(programs,)](*tensors, *self.sizes, **self.options)
        if aligned and not INTERPRETED:
            self.compiled[kinds] = compiled


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
    """a @ b of float32 masks and inverses, or of two batches of them."""
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
def load_transposed(pointer, start, stop, first, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The transpose of what `load_rows` loads, (COLUMNS, ROWS): products take it as it lies in memory, `tl.trans` moves it."""
    row = start + tl.arange(0, ROWS)
    column = first + tl.arange(0, COLUMNS)
    inside = (row < stop)[None, :] & (column < WIDTH)[:, None]
    return tl.load(pointer + row[None, :] * WIDTH + column[:, None], mask=inside, other=0.0).to(tl.float32)


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
def gate_products(gates, C: tl.constexpr, LOW: tl.constexpr):
    """Λ, γ̄, s and γ_C of a tile's gates.

    Λ[t, i] is the product of the gates strictly between tokens i < t and zero elsewhere, γ̄_t that of the gates before token t,
    s_i of those after token i, γ_C of all. LOW takes them from sums of logarithms: quick, and right to about 1e-5.
    """
    token = tl.arange(0, C)
    lower = token[:, None] > token[None, :]
    if LOW:
        logs = tl.log2(tl.maximum(gates, 1e-30))
        through = tl.cumsum(logs, 0)
        before, whole = through - logs, tl.sum(logs, 0)
        between = tl.where(lower, tl.exp2(before[:, None] - through[None, :]), 0.0)
        return between, tl.exp2(before), tl.exp2(whole - through), tl.exp2(whole)
    else:
        previous = tl.sum(tl.where(token[:, None] == token[None, :] + 1, gates[None, :], 0.0), 1)
        previous = tl.where(token == 0, 1.0, previous)
        following = tl.sum(tl.where(token[:, None] == token[None, :] + 1, gates[:, None], 0.0), 0)
        after = tl.cumprod(tl.where(token == C - 1, 1.0, following), 0, reverse=True)
        factors = tl.where(token[:, None] > token[None, :] + 1, previous[:, None], 1.0)
        between = tl.where(lower, tl.cumprod(factors, 0), 0.0)
        return between, tl.cumprod(previous, 0), after, tl.sum(tl.where(token == 0, gates * after, 0.0), 0)


@triton.jit
def products_backward(between, before, after, d_between, d_before, d_after, d_total):
    """The gradient of every gate from those of what `gate_products` makes of them.

    A gate l stands between i and t where Λ[t, i] holds Λ[t, l] α_l Λ[l, i]: no division, so a gate may be 0.
    """
    later = tl.sum(between * d_before[:, None], 0)
    through = mask_product(tl.trans(between), d_between, False) + after[:, None] * d_after[None, :]
    return tl.sum(between * through, 1) + before * (later + d_total * after)


@triton.jit
def gates_backward(
    gates, between, before, after, d_between, held, d_before, d_after, d_total, C: tl.constexpr, LOW: tl.constexpr
):
    """As `products_backward`, with `held` = between * d_between.

    LOW adds up what reaches all products that hold a gate, times these, and divides by the gate: no difference of large sums, so
    a gate may be small, and one below 1e-30 counts as that.
    """
    if LOW:
        token = tl.arange(0, C)
        earlier = token[:, None] < token[None, :]
        through = product(held, tl.where(earlier, 1.0, 0.0), LOW) + (before * d_before)[:, None]
        ending = tl.where(earlier, (after * d_after)[:, None], 0.0)
        reached = tl.sum(tl.where(token[:, None] > token[None, :], through, ending), 0)
        return reached / tl.maximum(gates, 1e-30) + d_total * before * after
    else:
        return products_backward(between, before, after, d_between, d_before, d_after, d_total)


@triton.jit
def couples(rows, columns, size: tl.constexpr):
    """Whether the rows' blocks of `size` are the second and the columns' the first of one block twice as large."""
    return (rows // size == columns // size + 1) & (rows // size % 2 == 1)


@triton.jit
def block_inverse(A, LOW: tl.constexpr):
    """(I + A)⁻¹ for A (16, 16), or each of (N, 16, 16), given below the diagonal, by blocks that double.

    Of [[X, 0], [B, Y]] it is [[X⁻¹, 0], [-Y⁻¹ B X⁻¹, Y⁻¹]]. No powers of A: with similar keys those grow far beyond the inverse.
    """
    row, column = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :]
    inverse = tl.where(row == column, 1.0, 0.0) - tl.where(couples(row, column, 1), A, 0.0)
    for level in tl.static_range(1, 4):
        coupling = tl.where(couples(row, column, 2**level), A, 0.0)
        inverse -= mask_product(inverse, mask_product(coupling, inverse, LOW), LOW)
    return inverse


@triton.jit
def tile_inverse(A, place, C: tl.constexpr, LOW: tl.constexpr):
    """(I + A)⁻¹ for A (C, C) given below its diagonal, as `block_inverse`; by way of `place`, (C, C) in memory, where it stays.

    Blocks of other shapes come from memory: a program cannot take them out of its registers.
    """
    store_rows(place, A, 0, C, 0, C, C, C)
    tl.debug_barrier()
    row, column = tl.arange(0, 16)[None, :, None], tl.arange(0, 16)[None, None, :]
    block = place + tl.arange(0, C // 16)[:, None, None] * (16 * C + 16) + row * C + column
    tl.store(block, block_inverse(tl.load(block), LOW))
    tl.debug_barrier()
    if C > 16:
        first = place + tl.arange(0, C // 32)[:, None, None] * (32 * C + 32) + row * C + column
        coupled = mask_product(tl.load(first + 16 * C), tl.load(first), LOW)
        tl.store(first + 16 * C, -mask_product(tl.load(first + 16 * C + 16), coupled, LOW))
        tl.debug_barrier()
    if C > 32:
        coupled = mask_product(load_rows(place, 32, 64, 0, C, 32, 32), load_rows(place, 0, 32, 0, C, 32, 32), LOW)
        store_rows(place, -mask_product(load_rows(place, 32, 64, 32, C, 32, 32), coupled, LOW), 32, 64, 0, C, 32, 32)
        tl.debug_barrier()
    return load_rows(place, 0, C, 0, C, C, C)
