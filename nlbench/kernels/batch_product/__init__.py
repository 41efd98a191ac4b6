"""Products of batches with a matrix that is larger than they are and used again and again: what a memory answers to keys, what
its errors say of them, and its steps.

On a GPU's tensor cores every number is the sum of three of bfloat16, its parts, and a product one of parts, as exact as in
float32.

Shapes: S seeds, B tokens, D width of a key, V width of a value.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from nlbench.kernels.backends import Backend, implementation, resolve
from nlbench.kernels.shapes import check_shapes

__all__ = ["LARGE", "Directions", "Factor", "answer", "below", "factor", "inner", "lay", "load", "renew", "step", "worth_parts"]

LARGE: Final = 250_000
"""Numbers of a matrix from which on parts are quicker than torch's float32 on an H200, for batches of 64 tokens and more."""


class Factor(NamedTuple):
    """A matrix (S, V, D) for one backend, and its parts as products over its columns and over its rows take them; None where none
    does.
    """

    matrix: Tensor
    backend: Backend
    over_columns: Tensor | None = None
    over_rows: Tensor | None = None


class Directions(NamedTuple):
    """Directions (S, B, D), and their parts as a step takes them; None where it takes none."""

    numbers: Tensor
    parts: Tensor | None = None


def worth_parts(matrix: Tensor) -> bool:
    """Whether products of parts are quicker for this matrix, on a GPU."""
    return matrix.dtype == torch.float32 and matrix[:1].numel() >= LARGE


def factor(matrix: Tensor, *, below: bool = False, backend: Backend = "auto") -> Factor:
    """The contiguous matrix (S, V, D), which is not copied, for `answer`, and for `below` if that is asked for.

    "auto" makes parts, on a GPU, of matrices of at least `LARGE` numbers. Cost: 12 bytes a number for each of both, in one pass.
    """
    check_shapes("factor", matrix=(matrix, "S V D"))
    if not matrix.is_contiguous():
        raise ValueError("factor: the matrix must be contiguous")
    chosen = resolve(__name__, backend, matrix)
    if backend == "auto" and chosen == "triton" and not worth_parts(matrix):
        chosen = "reference"
    return implementation(__name__, chosen, matrix).factor(matrix, below)


def renew(factor: Factor) -> None:
    """Make the parts anew, in place, after the matrix was changed by others than `step`."""
    implementation(__name__, factor.backend, factor.matrix).renew(factor)


def answer(keys: Tensor, factor: Factor) -> Tensor:
    """K Mᵀ (S, B, V) for keys (S, B, D), rows of adjacent numbers. Cost: B D V multiply-adds a seed, six times in bfloat16."""
    check_shapes("answer", keys=(keys, "S B D"), factor=(factor.matrix, "S V D"))
    return implementation(__name__, factor.backend, factor.matrix).answer(keys, factor)


def below(errors: Tensor, factor: Factor) -> Tensor:
    """Δ M (S, B, D) for errors (S, B, V), rows of adjacent numbers. Cost as of `answer`."""
    check_shapes("below", errors=(errors, "S B V"), factor=(factor.matrix, "S V D"))
    return implementation(__name__, factor.backend, factor.matrix).below(errors, factor)


def lay(directions: Tensor, factor: Factor) -> Directions:
    """Directions (S, B, D), rows of adjacent numbers, as `step` of this factor takes them."""
    check_shapes("lay", directions=(directions, "S B D"), factor=(factor.matrix, "S V D"))
    return implementation(__name__, factor.backend, factor.matrix).lay(directions)


def step(factor: Factor, moves: Tensor, directions: Directions, *, scale: float) -> None:
    """Change the matrix, and its parts with it, in place: M += scale Δᵀ X for moves Δ (S, B, V), rows of adjacent numbers, and
    directions X (S, B, D), laid for this factor. Cost as of `answer`.
    """
    numbers = directions.numbers
    check_shapes("step", moves=(moves, "S B V"), directions=(numbers, "S B D"), factor=(factor.matrix, "S V D"))
    implementation(__name__, factor.backend, factor.matrix).step(factor, moves, directions, scale)


def inner(rows: Tensor, others: Tensor, factor: Factor) -> Tensor:
    """A Bᵀ (S, N, M) for few rows A (S, N, D) and B (S, M, D) as wide as this factor's, of adjacent numbers each.

    Cost: N M D multiply-adds a seed.
    """
    check_shapes("inner", rows=(rows, "S N D"), others=(others, "S M D"), factor=(factor.matrix, "S V D"))
    return implementation(__name__, factor.backend, factor.matrix).inner(rows, others)


def load(device: torch.device) -> None:
    """Use every kernel of parts once, on a small matrix on a GPU: they are compiled, or loaded, before a batch is timed."""
    one = torch.ones(1, 32, 32, device=device)
    made = factor(one, below=True, backend="triton")
    step(made, inner(one, below(answer(one, made), made), made), lay(one, made), scale=0.0)
    made = factor(one, backend="triton")
    step(made, one, lay(one, made), scale=0.0)
    implementation(__name__, "triton", one).accumulate(one, one.clone(), retain=1.0)
