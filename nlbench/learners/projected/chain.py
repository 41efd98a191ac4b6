"""The memories one above another, from slow to fast: chunks are read upwards, and what was wrong is written downwards.

Shapes: S seeds, n chunks, B tokens of a chunk, N = n B, D width of a key, V width of what a memory answers, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nlbench.kernels.batch_product import Directions
from nlbench.kernels.branches import Branches
from nlbench.kernels.metric_update import through_relu
from nlbench.learners.projected.at_once import AtOnce
from nlbench.learners.projected.continuum import Continuum
from nlbench.learners.projected.features import joined
from nlbench.learners.projected.readout import Reading
from nlbench.learners.projected.schedule import Schedule
from nlbench.learners.projected.self_reference import Fading


class Told(NamedTuple):
    """What labels (S, n, B) of chunks mean: the classes (C,) that compete, how tokens fade where memories say so, and the context
    (S, n) of each chunk where the read-out answers by context.
    """

    labels: Tensor
    classes: Tensor
    fading: Fading | None = None
    contexts: Tensor | None = None

    def chunks(self, start: int, end: int) -> Told:
        """Return what is told of chunks start … end - 1."""
        contexts = None if self.contexts is None else self.contexts[:, start:end]
        return self._replace(labels=self.labels[:, start:end], contexts=contexts)


class Chain:
    """Levels and a read-out. Parts of a step that need not wait for each other run in branches: a memory's own, 0 … M - 1, and
    one more of each, M … 2 M - 1.
    """

    def __init__(self, continuum: Continuum, schedule: Schedule) -> None:
        self._memories, self._readout, self._schedule = continuum.memories, continuum.readout, schedule
        self._fast, self._last = schedule.fast, len(continuum.levels)
        self._branches = Branches(2 * len(self._memories), self._memories[0].weights.device)

    def learn(self, keys: Tensor, told: Told, before: int) -> Tensor:
        """Predict, then write, the chunks after step `before`, whose keys (S, N, D) the first memory takes: return the losses
        (n, S) before each.
        """
        chunks, size = told.labels.shape[1:]
        first, parts = self._memories[0], self._schedule.parts(before, chunks)
        pieces = [slice(start * size, end * size) for start, end in parts]
        with self._branches.branch(0, keys):
            projected = first.projected(keys)
            along = [first.laid(projected[:, own].contiguous()) for own in pieces]
        blanks = [keys.new_ones(*keys.shape[:2], level.weights.shape[1] + 1) for level in self._memories[: self._last]]
        losses = list[Tensor]()
        for (start, end), own, directions in zip(parts, pieces, along, strict=True):
            piece, room = told.chunks(start, end), [blank[:, own] for blank in blanks]
            losses += self._learn_piece(keys[:, own], directions, room, piece, before + end)
        self._branches.join()
        return joined(losses).unflatten(1, (chunks, size)).mean(2).mT

    def _learn_piece(self, first: Tensor, towards: Directions, blanks: list[Tensor], told: Told, now: int) -> list[Tensor]:
        """Learn the chunks until step `now`, of which only the last is followed by a step of a slow memory, from the first
        memory's keys, its directions, and tensors of ones for the keys above: return the losses (S, B) before each. Steps may
        still run in their branches.

        The slow memories read all chunks at once. So does the first fast one after them; those above it take one after the other.
        """
        (chunks, size), fast, last = told.labels.shape[1:], self._fast, self._last
        keys, directions, answers = self._read(first, towards, blanks)
        steps = fast < last or self._readout.steps
        numbers, each = (fast, len(self._memories) + fast), size if steps else chunks * size
        through = AtOnce(self._memories[fast], keys[-1], directions[fast], each, self._branches, numbers, below=fast > 0)
        losses, errors, reading = list[Tensor](), list[Tensor](), None
        read: list[list[Tensor]] = [[] for _ in self._memories[fast + 1 :]]
        for number, own in enumerate(through.parts):
            answer, shown = through.corrected(number, answers[:, own]), told.chunks(number, number + 1) if steps else told
            if fast < last:
                room = [blank[:, own] for blank in blanks[fast:]]
                loss, error = self._learn_above(fast + 1, rectified(answer, room[0]), room[1:], read, shown, now)
            else:
                reading = self._readout.errors(answer, shown.labels, shown.classes, shown.fading)
                loss, error = reading.losses, reading.errors
            losses.append(loss)
            errors.append(error)
            if steps:
                through.add(number, error)
        self._write(keys, directions, errors, through, size, now)
        if reading and not steps:
            self._readout.write(keys[-1], directions[-1], reading, size, gathers=False)
        for i, chunk_keys in enumerate([*(key.split(size, 1) for key in keys), *read]):
            self._gather(i, chunk_keys, now)
        self._branches.keep(*keys, *errors, *through.held(), *(each for some in directions for each in some))
        return losses

    def _read(self, first: Tensor, towards: Directions, blanks: list[Tensor]) -> tuple[list[Tensor], list[Directions], Tensor]:
        """Return the keys, (S, N, D) with the constant 1 last, of the slow memories and the fast one, the directions of their
        steps, and what the fast one answers, (S, N, V), for the first memory's keys and directions.
        """
        keys, directions = [first], [towards]
        for i in range(self._fast):
            keys.append(rectified(self._memories[i].answers(keys[i]), blanks[i]))
            self._branches.wait(i + 1)  # for what was written before
            if i + 1 < self._fast:
                directions.append(self._directions(i + 1, keys[i + 1]))
        answers = self._memories[self._fast].answers(keys[-1])
        if self._fast > 0:
            directions.append(self._directions(self._fast, keys[-1]))
        return keys, directions, answers

    def _learn_above(
        self, i: int, keys: Tensor, blanks: list[Tensor], read: list[list[Tensor]], told: Told, now: int
    ) -> tuple[Tensor, Tensor]:
        """Read a chunk by memory i, whose keys (S, B, D) these are, and those above it, then write it: return the losses (S, B),
        and the errors of what the keys were before the ReLU. The keys go to the lists `read`.
        """
        read[i - self._fast - 1].append(keys)
        if i == self._last:
            return self._learn_readout(keys, told, now)
        memory = self._memories[i]
        self._branches.wait(i)  # for what the chunk before has written
        directions = self._directions(i, keys)
        above = rectified(memory.answers(keys), blanks[0])
        losses, errors = self._learn_above(i + 1, above, blanks[1:], read, told, now)
        below = through_relu(memory.below(errors), keys)
        with self._branches.branch(i, errors):
            moves = memory.moves(errors, directions.numbers, errors.shape[1])
            memory.step(keys, directions, moves, chunks=1, ends=True, gathers=self._schedule.gathers(now))
        self._branches.keep(errors, moves, *directions)
        return losses, below

    def _learn_readout(self, keys: Tensor, told: Told, now: int) -> tuple[Tensor, Tensor]:
        """Read and write a read-out that is not the fast memory: return the losses (S, B), and the errors of what its keys were
        before the ReLU.
        """
        last, size = self._last, told.labels.shape[2]
        self._branches.wait(last)  # for what the chunk before has written
        if told.contexts is not None:
            self._readout.turn_to(told.contexts[:, 0])
        directions = self._directions(last, keys)
        reading, below = self._readout.read(keys, told.labels, told.classes, told.fading)
        with self._branches.branch(last, keys, reading.errors, *_pairs(reading)):
            self._readout.write(keys, directions, reading, size, gathers=self._schedule.gathers(now))
        return reading.losses, below

    def _write(
        self, keys: list[Tensor], directions: list[Directions], errors: list[Tensor], through: AtOnce, size: int, now: int
    ) -> None:
        """Step the fast memory, and the slow ones, for the errors of what the fast one answered to chunks of `size` tokens. Waits
        for the first memory alone.
        """
        fast, above = self._fast, joined(errors)
        for i in range(fast, -1, -1):
            memory = self._memories[i]
            if i > 0:
                below = memory.below(above)
            with self._branches.branch(i, above):
                moves = through.moves if i == fast else memory.moves(above, directions[i].numbers, size)
                if moves is not None:
                    falls = {"ends": self._schedule.steps(i, now), "gathers": self._schedule.gathers(now)}
                    memory.step(keys[i], directions[i], moves, chunks=above.shape[1] // size, **falls)
            if i == fast > 0:
                through.correct_below(below)
            if i > 0:
                above = through_relu(below, keys[i])
        self._branches.wait(0)

    def _directions(self, i: int, keys: Tensor) -> Directions:
        """Return the directions of memory i's step by keys (S, N, D), made in its branch."""
        with self._branches.branch(i, keys):
            return self._memories[i].directions(keys)

    def _gather(self, i: int, chunks: Sequence[Tensor], now: int) -> None:
        """Let memory i gather those of the chunks (S, B, D) until step `now` that are due."""
        due = [keys for back, keys in enumerate(reversed(chunks)) if self._schedule.gathers(now - back)]
        if due and self._memories[i].gathers_apart:
            with self._branches.branch(len(self._memories) + i, *due):
                self._memories[i].gather(due)


def rectified(answers: Tensor, blank: Tensor) -> Tensor:
    """Return the keys (S, N, V + 1) of the memory above, made of answers (S, N, V) in a tensor of ones, `blank`."""
    torch.clamp_min(answers, 0.0, out=blank[..., :-1])
    return blank


def _pairs(reading: Reading) -> tuple[Tensor, ...]:
    return reading.pairs or ()
