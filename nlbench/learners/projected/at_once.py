"""Several chunks learned at once through a memory that steps after each of them.

The memory is read by all of them as it is before the first: its step -rate Δᵀ X by a chunk's errors Δ and directions X adds
-rate K Xᵀ Δ to what later keys K read, and -rate E Δᵀ X to what their errors E are below.

Shapes: S seeds, B tokens of a chunk, N = n B, D width of a key, V width of what the memory answers.
"""

from __future__ import annotations

from torch import Tensor

from nlbench.kernels.batch_product import Directions
from nlbench.kernels.branches import Branches
from nlbench.learners.projected.memory import Memory


class AtOnce:
    """What n chunks, of keys (S, N, D) and directions of as many, do to each other through one memory.

    parts  which tokens are of each chunk
    moves  what the chunks so far have it step by, (S, N, V); None before the first
    """

    def __init__(
        self,
        memory: Memory,
        keys: Tensor,
        directions: Directions,
        size: int,
        branches: Branches,
        numbers: tuple[int, int],
        *,
        below: bool,
    ) -> None:
        """Chunks are of `size` tokens; branches of these numbers make what is done to later keys, and to what is below, if that
        is asked for.
        """
        self._memory, self._branches, self._numbers, self._below = memory, branches, numbers, below
        self._along = directions.numbers
        self.parts = [slice(start, start + size) for start in range(0, keys.shape[1], size)]
        self.moves: Tensor | None = None
        self._effects: list[Tensor] = []
        with branches.branch(numbers[0]):
            self._overlaps = [memory.inner(keys[:, own], self._along[:, : own.start]) for own in self.parts[1:]]

    def corrected(self, number: int, answers: Tensor) -> Tensor:
        """Return what a chunk reads, given what it would read before the first, (S, B, V), which is changed in place."""
        if self.moves is not None:
            self._branches.wait(self._numbers[0])
            past = self.moves[:, : self.parts[number].start]
            answers.baddbmm_(self._overlaps[number - 1], past, alpha=-self._memory.writing.rate)
        return answers

    def add(self, number: int, errors: Tensor) -> None:
        """Take in the errors (S, B, V) of what a chunk read, by which the memory steps before the next."""
        own = self.parts[number]
        if self._below and self.moves is not None:
            with self._branches.branch(self._numbers[1]):
                self._effects.append(errors @ self.moves[:, : own.start].mT)
        with self._branches.branch(self._numbers[0]):
            made = self._memory.moves(errors, self._along[:, own], own.stop - own.start)
            if len(self.parts) == 1:
                self.moves = made
                return
            if self.moves is None:
                self.moves = made.new_empty(*self._along.shape[:2], made.shape[2])
            self.moves[:, own] = made
        self._branches.keep(made)

    def correct_below(self, below: Tensor) -> None:
        """Bring what the errors of all chunks are below, (S, N, D), as by the memory before the first, to what they are."""
        self._branches.wait(self._numbers[1])
        for own, effect in zip(self.parts[1:], self._effects, strict=True):
            below[:, own].baddbmm_(effect, self._along[:, : own.start], alpha=-self._memory.writing.rate)

    def held(self) -> list[Tensor]:
        """Return what branches may still read."""
        return [*([] if self.moves is None else [self.moves]), *self._effects, *self._overlaps]
