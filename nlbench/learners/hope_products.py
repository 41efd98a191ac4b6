"""The products of a HOPE learner's memories and of what they protect, as `kernels.batch_product` makes them.

Shapes: S seeds, N tokens, D width of a key, V width of what a memory answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nlbench.kernels import Bound, batch_product
from nlbench.kernels.batch_product import Directions, Factor


class Products:
    """Memories (S, V, D) and projections (S, D, D) as products take them; one that is empty projects nothing.

    `parts` is what was made of them: renew it after one of them was changed by others than `step`. The last memory, the
    read-out, has none: it is written in many ways.
    """

    def __init__(self, memories: Sequence[Tensor], projections: Sequence[Tensor], op: Bound, *, projects: bool) -> None:
        self._projects = projects
        last = len(memories) - 1

        def factor(matrix: Tensor, *, below: bool, hidden: bool) -> Factor:
            made = op.factor(matrix, below=below, split=hidden and batch_product.worth_parts(matrix))
            assert isinstance(made, Factor)
            return made

        self._memories = [factor(each, below=i > 0, hidden=i < last) for i, each in enumerate(memories)]
        self._projections = [factor(each, below=False, hidden=True) for each in projections]
        self.parts = [part for each in (*self._memories, *self._projections) for part in each.parts]

    def load(self) -> None:
        """Use every kernel once."""
        for each in (*self._memories, *self._projections):
            each.load()

    def renew_memory(self, i: int) -> None:
        """Make the parts of memory i anew."""
        self._memories[i].renew()

    def renew_projection(self, i: int) -> None:
        """Make the parts of projection i anew."""
        self._projections[i].renew()

    def answers(self, i: int, keys: Tensor) -> Tensor:
        """Return what memory i answers to keys (S, N, D): (S, N, V)."""
        return self._memories[i].answer(keys)

    def below(self, i: int, errors: Tensor) -> Tensor:
        """Return what errors of memory i's answers (S, N, V) say of its keys: (S, N, D)."""
        return self._memories[i].below(errors)

    def directions(self, i: int, keys: Tensor) -> Directions:
        """Return keys projected by what memory i protects, as its steps take them."""
        return self.laid(i, self.projected(i, keys))

    def projected(self, i: int, keys: Tensor) -> Tensor:
        """Return keys projected by what memory i protects; as they are where the step itself projects."""
        projection = self._projections[i]
        return projection.answer(keys) if self._projects and projection.matrix.numel() else keys

    def laid(self, i: int, directions: Tensor) -> Directions:
        """Return directions (S, N, D) as a step of memory i takes them."""
        return self._memories[i].lay(directions)

    def inner(self, i: int, keys: Tensor, directions: Tensor) -> Tensor:
        """Return the products (S, N, M) of keys (S, N, D) of memory i with directions (S, M, D)."""
        return self._memories[i].inner(keys, directions)

    def step(self, i: int, moves: Tensor, directions: Directions, scale: float) -> None:
        """Step memory i by moves (S, N, V) along directions."""
        self._memories[i].step(moves, directions, scale=scale)
