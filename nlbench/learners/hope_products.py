"""The products of a HOPE learner's memories and of what they protect, as `kernels.batch_product` makes them.

Shapes: S seeds, N tokens, D width of a key, V width of what a memory answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nlbench.kernels import batch_product
from nlbench.kernels.backends import Backend
from nlbench.kernels.batch_product import Directions, Factor


class Products:
    """Memories (S, V, D) and projections (S, D, D) as products take them; one that is empty projects nothing.

    `parts` is what was made of them: renew it after one of them was changed by others than `step`. The last memory, the
    read-out, has none: it is written in many ways.
    """

    def __init__(self, memories: Sequence[Tensor], projections: Sequence[Tensor], backend: Backend) -> None:
        self._numba = backend == "numba"
        last = len(memories) - 1

        def factor(matrix: Tensor, *, below: bool, hidden: bool) -> Factor:
            parts = hidden and batch_product.worth_parts(matrix)
            return batch_product.factor(matrix, below=below, backend=backend if backend != "triton" or parts else "reference")

        self._memories = [factor(each, below=i > 0, hidden=i < last) for i, each in enumerate(memories)]
        self._projections = [factor(each, below=False, hidden=True) for each in projections]
        found = [part for each in (*self._memories, *self._projections) for part in (each.over_columns, each.over_rows)]
        self.parts = [part for part in found if part is not None]
        if self.parts:
            batch_product.load(self.parts[0].device)

    def renew_memory(self, i: int) -> None:
        """Make the parts of memory i anew."""
        batch_product.renew(self._memories[i])

    def renew_projection(self, i: int) -> None:
        """Make the parts of projection i anew."""
        batch_product.renew(self._projections[i])

    def answers(self, i: int, keys: Tensor) -> Tensor:
        """Return what memory i answers to keys (S, N, D): (S, N, V)."""
        return batch_product.answer(keys, self._memories[i])

    def below(self, i: int, errors: Tensor) -> Tensor:
        """Return what errors of memory i's answers (S, N, V) say of its keys: (S, N, D)."""
        return batch_product.below(errors, self._memories[i])

    def directions(self, i: int, keys: Tensor) -> Directions:
        """Return keys projected by what memory i protects, as its steps take them."""
        return self.laid(i, self.projected(i, keys))

    def projected(self, i: int, keys: Tensor) -> Tensor:
        """Return keys projected by what memory i protects; as they are on CPU cores, where the step itself projects."""
        projection = self._projections[i]
        return keys if self._numba or not projection.matrix.numel() else batch_product.answer(keys, projection)

    def laid(self, i: int, directions: Tensor) -> Directions:
        """Return directions (S, N, D) as a step of memory i takes them."""
        return batch_product.lay(directions, self._memories[i])

    def inner(self, i: int, keys: Tensor, directions: Tensor) -> Tensor:
        """Return the products (S, N, M) of keys (S, N, D) of memory i with directions (S, M, D)."""
        return batch_product.inner(keys, directions, self._memories[i])

    def step(self, i: int, moves: Tensor, directions: Directions, scale: float) -> None:
        """Step memory i by moves (S, N, V) along directions."""
        batch_product.step(self._memories[i], moves, directions, scale=scale)
