"""The products in torch."""

from __future__ import annotations

from torch import Tensor

from nlbench.kernels.batch_product import Directions, Factor


def parts(matrix: Tensor, below: bool) -> tuple[None, None]:
    """None; arguments, here and below, as in the package."""
    return None, None


def load(one: Tensor) -> None:
    """Nothing: torch is there."""


def renew(factor: Factor) -> None:
    """Nothing: there are no parts."""


def answer(keys: Tensor, factor: Factor) -> Tensor:
    """(S, B, V)."""
    return keys @ factor.matrix.mT


def below(errors: Tensor, factor: Factor) -> Tensor:
    """(S, B, D)."""
    return errors @ factor.matrix


def lay(directions: Tensor) -> Directions:
    """The directions alone."""
    return Directions(directions)


def step(factor: Factor, moves: Tensor, directions: Directions, scale: float) -> None:
    """The matrix, changed."""
    factor.matrix.baddbmm_(moves.mT, directions.numbers, alpha=scale)


def inner(rows: Tensor, others: Tensor) -> Tensor:
    """(S, N, M)."""
    return rows @ others.mT
