"""The last memory, which is read, and the three rules it may be written by.

Shapes: S seeds, n chunks, B tokens of a chunk, N = n B, D width of a key, C classes.
Source: Behrouz et al. 2025 (arXiv 2512.24695), eq. 59 with an accumulated metric, eq. 88 and 93.
"""

from __future__ import annotations

from typing import ClassVar, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench.kernels.batch_product import Directions
from nlbench.kernels.metric_update import own_rates, through_relu, token_errors
from nlbench.learners.projected.config import ProjectedConfig
from nlbench.learners.projected.memory import Memory, Ops, Writing
from nlbench.learners.projected.order import with_last
from nlbench.learners.projected.self_reference import Fading
from nlbench.nested.rules import dgd

INITIAL_GAIN: Final = 0.1
"""A read-out that learns by steps starts at this share of the usual scale, so that its first readings are nearly even."""


class Pairs(NamedTuple):
    """What a read-out is told of each token: its values (S, N, C), how far answers are from them, and its rate (S, N, 1)."""

    values: Tensor
    surprises: Tensor
    rates: Tensor


class Reading(NamedTuple):
    """Each token's loss (S, N), the errors of its answers (S, N, C), and what is told where the rule takes pairs."""

    losses: Tensor
    errors: Tensor
    pairs: Pairs | None = None


class ReadOut:
    """A memory that answers with one number a class, and its rule."""

    steps: ClassVar[bool] = False
    """Whether the rule steps along errors, as levels do."""
    gain: ClassVar[float] = 0.0
    """Of the first weights, beside the usual scale."""
    gathers: ClassVar[bool] = False
    """Whether the memory has a gram."""

    def __init__(self, config: ProjectedConfig, weights: Tensor, ops: Ops) -> None:
        """`weights` are of the usual scale."""
        self._config, self._op = config.readout, ops.steps
        kinds = {"gathers": self.gathers, "protects": self.steps, "first": not config.levels, "hidden": False}
        self.memory = Memory(weights * self.gain, Writing.of(config, config.readout), ops, **kinds)

    def errors(self, answers: Tensor, labels: Tensor, classes: Tensor, fading: Fading | None) -> Reading:
        """Return what answers (S, N, C) say of labels (S, n, B).

        Values and rates are the read-out's own: they depend on what it reads now.
        """
        one_hot = F.one_hot(labels.flatten(1), answers.shape[-1]).to(answers.dtype)
        values = own_values(answers, one_hot, self._config.slack)
        surprises, rates = answers - values, own_rates(answers, one_hot, classes, self._config.surprise)
        if fading:
            rates = rates * fading.rates
        losses = (answers - one_hot).square().sum(-1) / 2
        return Reading(losses, surprises * (rates / labels.shape[2]), Pairs(values, surprises, rates))

    def read(self, keys: Tensor, labels: Tensor, classes: Tensor, fading: Fading | None) -> tuple[Reading, Tensor]:
        """Return what is read from keys (S, N, D), and the errors (S, N, D - 1) of what they were before the ReLU."""
        reading = self.errors(self.memory.answers(keys), labels, classes, fading)
        return reading, through_relu(self.memory.below(reading.errors), keys)

    def write(self, keys: Tensor, directions: Directions, reading: Reading, size: int, *, gathers: bool) -> None:
        """Write what chunks of `size` tokens said; `directions` are of the keys, and `gathers` as in `Memory.step`."""
        raise NotImplementedError

    def turn_to(self, contexts: Tensor) -> None:
        """Read and write in these contexts (S,) from here on."""
        raise NotImplementedError

    def rows(self, seed: int, owed: Tensor | None) -> Tensor:
        """Return the weights (1, V, D) by which one seed is read; `owed` (S, D - 1) is the order that what was gathered owes."""
        return self.memory.weights[seed : seed + 1]

    def scores(self, seed: int, answers: Tensor, belief: Tensor | None) -> Tensor:
        """Return the logits (1, N, C) that a seed's answers (1, N, V) by `rows` are, given the log shares (N, G) of contexts."""
        return answers

    def refresh(self) -> None:
        """Bring up to date what is solved for."""

    def outdate(self) -> None:
        """Take in that more is about to be written."""

    def fade(self, left: Tensor) -> None:
        """Keep the share `left` (S, 1, 1) of all that was gathered."""
        self.memory.gram.mul_(left)

    def forget(self) -> None:
        """Keep nothing of what was gathered: the keys changed."""
        self.memory.gram.zero_()

    def follow(self, order: Tensor) -> None:
        """Reorder what was gathered of keys, order (S, D - 1); the memory's own is not touched."""

    def tensors(self) -> dict[str, Tensor]:
        """Return its state by name, but for the memory's."""
        return {}


class Exact(ReadOut):
    """The least-squares memory of every pair so far, in the metric of all keys.

    `products` (S, D, C) is Σ k vᵀ. What is asked is answered by what all pairs so far give, solved for when it is first asked
    after a write; the memory's weights, by which it learns, are those of the last refresh, so that asking changes nothing.
    """

    gathers = True

    def __init__(self, config: ProjectedConfig, weights: Tensor, ops: Ops) -> None:
        super().__init__(config, weights, ops)
        self.products = weights.new_zeros(weights.shape[0], weights.shape[2], weights.shape[1])
        self._solved: Tensor | None = None

    def write(self, keys: Tensor, directions: Directions, reading: Reading, size: int, *, gathers: bool) -> None:
        assert reading.pairs
        values, _, rates = reading.pairs
        retain, chunks = self._config.retain, keys.shape[1] // size
        if retain < 1 and chunks > 1:
            kept = retain ** torch.arange(chunks - 1, -1, -1, device=rates.device)
            rates = rates * kept.repeat_interleave(size)[:, None]
        self._op.accumulate(self.memory.gram, rates.sqrt() * keys, retain=retain**chunks)
        self.products.mul_(retain**chunks).baddbmm_(keys.mT, rates * values)

    def rows(self, seed: int, owed: Tensor | None) -> Tensor:
        if self._solved is None:
            self._solved = self._op.least_squares(self.memory.gram, self.products, self._config.ridge)
        own = self._solved[seed : seed + 1]
        return own if owed is None else own.gather(2, with_last(owed[seed : seed + 1])[:, None].expand_as(own))

    def refresh(self) -> None:
        self._solved = self._op.least_squares(self.memory.gram, self.products, self._config.ridge)
        self.memory.weights.copy_(self._solved)

    def outdate(self) -> None:
        self._solved = None

    def fade(self, left: Tensor) -> None:
        super().fade(left)
        self.products.mul_(left)

    def forget(self) -> None:
        super().forget()
        self.products.zero_()

    def follow(self, order: Tensor) -> None:
        self.products.copy_(self.products.gather(1, with_last(order)[..., None].expand_as(self.products)))

    def tensors(self) -> dict[str, Tensor]:
        return {"products": self.products}


class Protected(ReadOut):
    """One bounded step a chunk on softmax cross-entropy, in the metric of past keys."""

    steps = gathers = True
    gain = INITIAL_GAIN

    def errors(self, answers: Tensor, labels: Tensor, classes: Tensor, fading: Fading | None) -> Reading:
        losses, errors = token_errors(answers, labels.flatten(1), classes, self._config.surprise)
        return Reading(losses, errors * fading.rates if fading else errors)

    def read(self, keys: Tensor, labels: Tensor, classes: Tensor, fading: Fading | None) -> tuple[Reading, Tensor]:
        if fading:
            return super().read(keys, labels, classes, fading)
        surprise = self._config.surprise
        losses, errors, below = self._op.read_out(keys, self.memory.weights, labels.flatten(1), classes, surprise=surprise)
        return Reading(losses, errors), below

    def write(self, keys: Tensor, directions: Directions, reading: Reading, size: int, *, gathers: bool) -> None:
        moves = self.memory.moves(reading.errors, directions.numbers, size)
        self.memory.step(keys, directions, moves, chunks=1, ends=True, gathers=gathers)


class Dgd(ReadOut):
    """One step of delta gradient descent a chunk, in no metric (eq. 93)."""

    def errors(self, answers: Tensor, labels: Tensor, classes: Tensor, fading: Fading | None) -> Reading:
        if fading:
            self.memory.weights.mul_(fading.left)
        return super().errors(answers, labels, classes, fading)

    def write(self, keys: Tensor, directions: Directions, reading: Reading, size: int, *, gathers: bool) -> None:
        assert reading.pairs
        _, surprises, rates = reading.pairs
        per_length = self._config.rate / keys.shape[-1]  # keys are as long as the root of their width
        self.memory.weights.copy_(dgd(self.memory.weights, keys, surprises, per_length * rates[..., 0]).weights)


RULES: Final[dict[str, type[ReadOut]]] = {"exact": Exact, "protected": Protected, "dgd": Dgd}
"""The read-out of every rule that a configuration may name."""


def own_values(readings: Tensor, labels: Tensor, slack: float) -> Tensor:
    """Return the values (S, B, C) that a memory writes for labels (S, B, C) of 0 and 1: its readings, brought within the labels.

    A reading may exceed its label's 1, or fall below another's 0, by up to `slack` without being an error; 0 writes the labels.
    """
    return torch.where(labels > 0, readings.clamp(1.0, 1.0 + slack), readings.clamp(-slack, 0.0))
