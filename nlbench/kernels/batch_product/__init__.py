"""Products of batches with a matrix that is larger than they are and used again and again: what a memory answers to keys, what
its errors say of them, and its steps.

On a GPU's tensor cores every number is the sum of three of bfloat16, its parts, and a product one of parts, as exact as in
float32.

Shapes: S seeds, B tokens, D width of a key, V width of a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Final, NamedTuple

import torch
from torch import Tensor

from nlbench.kernels.backends import Backend, Bound, implementation, resolve
from nlbench.kernels.shapes import check_shapes

__all__ = ["LARGE", "Directions", "Factor", "factor", "worth_parts"]

LARGE: Final = 250_000
"""Numbers of a matrix from which on parts are quicker than torch's float32 on an H200, for batches of 64 tokens and more."""


class Directions(NamedTuple):
    """Directions (S, B, D), and their parts as a step takes them; None where it takes none."""

    numbers: Tensor
    parts: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Factor:
    """A matrix (S, V, D), the module that multiplies it, and its parts as products over its columns and over its rows take them;
    None where none does.
    """

    matrix: Tensor
    kernel: ModuleType
    over_columns: Tensor | None = None
    over_rows: Tensor | None = None

    @property
    def parts(self) -> list[Tensor]:
        """What is kept of the matrix beside it."""
        return [each for each in (self.over_columns, self.over_rows) if each is not None]

    def renew(self) -> None:
        """Make the parts anew, in place, after the matrix was changed by others than `step`."""
        self.kernel.renew(self)

    def answer(self, keys: Tensor) -> Tensor:
        """K Mᵀ (S, B, V) for keys (S, B, D), rows of adjacent numbers.

        Cost: B D V multiply-adds a seed, six times in bfloat16.
        """
        check_shapes("answer", keys=(keys, "S B D"), factor=(self.matrix, "S V D"))
        return self.kernel.answer(keys, self)

    def below(self, errors: Tensor) -> Tensor:
        """Δ M (S, B, D) for errors (S, B, V), rows of adjacent numbers. Cost as of `answer`."""
        check_shapes("below", errors=(errors, "S B V"), factor=(self.matrix, "S V D"))
        return self.kernel.below(errors, self)

    def lay(self, directions: Tensor) -> Directions:
        """Directions (S, B, D), rows of adjacent numbers, as `step` takes them."""
        check_shapes("lay", directions=(directions, "S B D"), factor=(self.matrix, "S V D"))
        return self.kernel.lay(directions)

    def step(self, moves: Tensor, directions: Directions, *, scale: float) -> None:
        """Change the matrix, and its parts with it, in place: M += scale Δᵀ X for moves Δ (S, B, V), rows of adjacent numbers,
        and directions X (S, B, D), laid for this factor. Cost as of `answer`.
        """
        numbers = directions.numbers
        check_shapes("step", moves=(moves, "S B V"), directions=(numbers, "S B D"), factor=(self.matrix, "S V D"))
        self.kernel.step(self, moves, directions, scale)

    def inner(self, rows: Tensor, others: Tensor) -> Tensor:
        """A Bᵀ (S, N, M) for few rows A (S, N, D) and B (S, M, D) as wide as the matrix, of adjacent numbers each.

        Cost: N M D multiply-adds a seed.
        """
        check_shapes("inner", rows=(rows, "S N D"), others=(others, "S M D"), factor=(self.matrix, "S V D"))
        return self.kernel.inner(rows, others)

    def load(self) -> None:
        """Use every kernel of such a factor once, on a small matrix: they are compiled, or loaded, before a batch is timed."""
        self.kernel.load(torch.ones(1, 32, 32, device=self.matrix.device))


def worth_parts(matrix: Tensor) -> bool:
    """Whether products of parts are quicker for this matrix, on a GPU."""
    return matrix.dtype == torch.float32 and matrix[:1].numel() >= LARGE


def factor(matrix: Tensor, *, below: bool = False, split: bool | None = None, backend: Backend | Bound = "auto") -> Factor:
    """The contiguous matrix (S, V, D), which is not copied, for `answer`, and for `below` if that is asked for.

    split  whether parts are made of it, on a GPU; None makes them where a backend that does is named, or "auto" finds at least
           `LARGE` numbers

    Cost of parts: 12 bytes a number for each of both, in one pass.
    """
    check_shapes("factor", matrix=(matrix, "S V D"))
    if not matrix.is_contiguous():
        raise ValueError("factor: the matrix must be contiguous")
    chosen = resolve(__name__, backend, matrix)
    if split is None:
        split = backend != "auto" or worth_parts(matrix)
    kernel = implementation(__name__, "reference" if chosen == "triton" and not split else backend, matrix)
    made = Factor(matrix, kernel, *kernel.parts(matrix, below))
    made.renew()
    return made
