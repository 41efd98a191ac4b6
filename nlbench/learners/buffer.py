"""A buffer: samples that a learner stores, for all seeds at once, in a fixed number of places.

Each sample gets a key when it comes, and the buffer keeps those that come first in its policy's order, as if all that were ever
added had been sorted. So no policy needs a loop over samples, and what is kept depends on no order of seeds or batches.

Shapes: S seeds, B samples added, n samples drawn, K places, N keys in order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal, get_args

import torch
from torch import Tensor

from nlbench.batch import Billed, Problem
from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.kernels.graphs import Captured
from nlbench.learners import draws, writing

Policy = Literal["reservoir", "balanced", "ring", "herding"]

_EMPTY: Final = 1 << draws.BITS
"""Keys from here on are of no sample: of an empty place, or of one that must not be kept."""
_ROOM: Final = draws.BITS + 1
"""Bits of a key; what is put in front of one is shifted by so many."""
_COUNTED: Final = 24
"""Bits of the number of a sample behind its rank."""


class Buffer(Billed):
    """Stored samples of S seeds: `add` a batch, `sample` some, billed as `bytes.samples`.

    reservoir  every sample ever added is kept with the same probability (Vitter 1985)
    balanced   as many of each class as there is room for, each class a reservoir (Chrysakis & Moens 2020, with places shared
               evenly at every moment)
    ring       the newest of each class, as many of each
    herding    those with the lowest `ranks` that are given, as many of each class (Rebuffi et al. 2017, alg. 5)

    A new class takes an equal share of the places from the others; none is left empty for classes to come. `groups` names
    another field to share by, such as "task". `extras` are fields beside inputs and labels, each given as one value that has the
    shape and the type of all.

        buffer = Buffer(500, problem, extras={"logits": torch.empty(problem.n_classes)})
        for batch in batches:
            if not buffer.empty:
                old = buffer.sample(10)
                train(old["inputs"], old["labels"], old["logits"])
            buffer.add(batch.inputs, batch.labels, logits=logits)

    All draws are named by seed, `name`, and the number of the sample or of the draw. A seed alone is as it is among others, and
    whatever holds a buffer resumes with it. A learner for one seed adds x[None] and takes [0] of what is drawn.
    Bytes a seed: K times those of a sample, its label, its extras and a key of 8, and 24 for the draws.
    """

    made_anew: ClassVar[tuple[str, ...]] = ("_rows", "_replaced")

    def __init__(
        self,
        capacity: int,
        problem: Problem,
        *,
        policy: Policy = "reservoir",
        groups: str = "labels",
        extras: Mapping[str, Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
        name: str = "buffer",
    ) -> None:
        """Make `capacity` empty places; `dtype` is of the inputs. Raises `NlbenchError` for an unknown policy or field."""
        if capacity < 1:
            raise NlbenchError(f"{name}: must have at least one place, got {capacity}.", "Give it a capacity of 1 or more.")
        if policy not in get_args(Policy):
            raise UnknownNameError("policy", policy, get_args(Policy))
        seeds, device = problem.seeds, problem.device
        one = {"inputs": torch.empty(problem.input_shape, dtype=dtype), "labels": torch.empty((), dtype=torch.int64)}
        self.fields = {
            field: torch.zeros(len(seeds), capacity, *like.shape, dtype=like.dtype, device=device)
            for field, like in {**one, **(extras or {})}.items()
        }
        if groups not in self.fields:
            raise UnknownNameError("field", groups, list(self.fields))
        self.capacity, self.policy = capacity, policy
        self.groups = None if policy == "reservoir" else groups
        self.keys = _EMPTY + torch.arange(capacity, device=device).repeat(len(seeds), 1)
        """(S, K): those of what is kept; `_EMPTY` and more of what is not there."""
        self.added = 0
        """Samples offered so far; none is counted twice."""
        self.empty = True
        """Whether nothing was offered yet, the same for every seed; read without asking the device."""
        self.surely = 0
        """Places of every seed that hold a sample, at the least; read without asking the device."""
        self.drawn = torch.zeros((), dtype=torch.int64, device=device)
        """Draws so far, counted where a captured step can count them."""
        self._rows = capacity * torch.arange(len(seeds), device=device)[:, None]
        """Where each seed's places begin in all seeds' together."""
        self._replaced = Captured(self._replace, most=4)
        self._kept = draws.Ahead(draws.starts(seeds, f"{name}/kept", device))
        self._sampled = draws.Ahead(draws.starts(seeds, f"{name}/sampled", device))

    @property
    def filled(self) -> Tensor:
        """(S, K) bool: the places that hold a sample."""
        return self.keys < _EMPTY

    @torch.no_grad()
    def add(
        self, inputs: Tensor, labels: Tensor, *, ranks: Tensor | None = None, where: Tensor | None = None, **extras: Tensor
    ) -> None:
        """Offer samples (1 or S, B, *input_shape) with labels (S, B) and every extra (S, B, …), in the order in which they came.

        ranks  (S, B) int64 from 0 to 32767, of the policy "herding" alone: lower ones are kept
        where  (S, B) bool: those that may be kept at all; None: all. A seed that was never given one draws noughts

        Raises `NlbenchError` where a field is missing, is none of the buffer's or has another shape. Cost: the K least of K + B
        keys a seed, with groups a sort of them, and a copy of what is newly kept.
        """
        values = {"inputs": inputs, "labels": labels, **extras}
        if values.keys() != self.fields.keys() or (ranks is None) == (self.policy == "herding"):
            named = [*values, *(["ranks"] if ranks is not None else [])]
            wanted = [*self.fields, *(["ranks"] if self.policy == "herding" else [])]
            raise NlbenchError(f"a buffer is given {', '.join(wanted)}, got {', '.join(named)}.", "Add a value of each.")
        self._check_shapes(values)
        if not (count := labels.shape[1]):
            return
        keys = self._new_keys(labels, ranks)
        if where is not None:
            keys = torch.where(where, keys, _EMPTY + self.capacity + torch.arange(count, device=labels.device))
        given = [values[field].detach() for field in self.fields]  # tensors not seen before: a launch reads what they hold now
        if ranks is not None:  # of many samples, and seldom
            self._replace(keys, *given)
        else:
            self._replaced([*self.fields.values(), self.keys], keys, *given)
        self.added += count
        self.empty = False
        if where is None:
            self.surely = min(self.capacity, self.surely + count)

    def clear(self) -> None:
        """Keep nothing of what was added."""
        self.keys.copy_(_EMPTY + torch.arange(self.capacity, device=self.keys.device))
        self.empty = True
        self.surely = 0

    @torch.no_grad()
    def sample(self, n: int, *, stratified: bool = False) -> dict[str, Tensor]:
        """Return each field (S, n, …) of n samples drawn from what is kept; none twice before all were.

        stratified  as many of each class, or of what the buffer's places are shared by

        Raises `NlbenchError` where nothing was offered yet, see `empty`. Asks the host nothing, so a captured step may draw.
        Cost: a number for each place, the least n of them, and a copy.
        """
        return self.at(self.places(n, stratified=stratified))

    @torch.no_grad()
    def places(self, n: int, *, stratified: bool = False) -> Tensor:
        """Return (S, n) int64: places drawn as `sample` draws them."""
        if n < 0:
            raise NlbenchError(f"a buffer draws 0 samples or more, got {n}.")
        if n and self.empty:
            raise NlbenchError(f"a buffer is empty, and {n} samples were asked of it.", "Ask `buffer.empty` first, or add some.")
        captured = self.drawn.is_cuda  # a captured step may not ask how many were drawn, or what the host counted
        if captured:
            counters = self.drawn * self.capacity + torch.arange(self.capacity, device=self.drawn.device)
            keys = draws.numbers(self._sampled.starts, counters)
        else:
            keys = self._sampled.numbers(int(self.drawn) * self.capacity, self.capacity)
        if captured or self.surely < self.capacity:
            keys = torch.where(self.filled, keys, self.keys)
        self.drawn += 1
        order = first(keys, min(n, self.capacity), self.fields[self.groups or "labels"] if stratified else None)
        if not captured and n <= self.surely:
            return order
        turns = torch.arange(n, device=order.device) % self.filled.sum(1, keepdim=True).clamp(min=1)
        return order.gather(1, turns)

    def at(self, places: Tensor) -> dict[str, Tensor]:
        """Return each field (S, n, …) of the samples at places (S, n), copied."""
        rows = (places + self._rows).flatten()
        return {
            name: field.flatten(0, 1).index_select(0, rows).view(*places.shape, *field.shape[2:])
            for name, field in self.fields.items()
        }

    def held(self) -> list[Tensor]:
        """Return every tensor that drawing reads or changes, for the `held` of a captured learner."""
        return [*self.fields.values(), self.keys, self.drawn]

    def memory_bytes(self) -> dict[str, int]:
        """Return {"samples": bytes a seed}, full or not."""
        held = [*self.fields.values(), self.keys, self._kept.starts, self._sampled.starts]
        return {"samples": sum(tensor.nbytes for tensor in held) // len(self.keys) + self.drawn.nbytes}

    def _check_shapes(self, values: Mapping[str, Tensor]) -> None:
        """Refuse values that are not (1 or S, B, …), with B as the labels have it."""
        seeds, count = len(self.keys), values["labels"].shape[1:2]
        for field, like in self.fields.items():
            shape, one = values[field].shape, like.shape[2:]
            if shape[:1] not in ((1,), (seeds,)) or not count or shape[1:] != (*count, *one):
                wanted = ", ".join(map(str, (seeds, *(count or "B"), *one)))
                hint = "The seed axis comes first: a learner for one seed adds x[None]."
                raise NlbenchError(f"a buffer is given {field} of shape ({wanted}), got {tuple(shape)}.", hint)

    def _replace(self, keys: Tensor, *values: Tensor) -> Tensor:
        """Write new samples with keys (S, B), a value of each field, over those that give way; return which are kept (S, B)."""
        fields, seeds, count = dict(zip(self.fields, values, strict=True)), *keys.shape
        groups = None if self.groups is None else torch.cat([self.fields[self.groups], fields[self.groups]], 1)
        chosen = first(torch.cat([self.keys, keys], 1), self.capacity, groups)
        left = torch.ones(seeds, self.capacity + count, dtype=torch.bool, device=keys.device).scatter_(1, chosen, False)
        free, taken = left[:, : self.capacity], ~left[:, self.capacity :]
        pairs = [*((self.fields[field], value) for field, value in fields.items()), (self.keys, keys)]
        (writing.by_shape if keys.is_cuda else writing.by_place)(pairs, free, taken)
        return taken

    def _new_keys(self, labels: Tensor, ranks: Tensor | None) -> Tensor:
        """Return (S, B): by what the policy orders the samples of a group."""
        if self.policy in ("reservoir", "balanced"):
            return self._kept.numbers(self.added, labels.shape[1])
        counters = torch.arange(self.added, self.added + labels.shape[1], device=labels.device)
        if ranks is not None:
            return (ranks << _COUNTED) + counters % (1 << _COUNTED)
        return (_EMPTY - 1 - counters).expand(labels.shape)


def first(keys: Tensor, n: int, groups: Tensor | None = None) -> Tensor:
    """Return (S, n) int64: where the n lowest of keys (S, N) are, the lowest first.

    With groups (S, N), where the first n are in the order of their rank within their group, then of their keys: as many of each
    group as there are, or all of a smaller one. Samples that may not be kept come last.
    """
    if groups is None:
        return keys.topk(n, 1, largest=False).indices
    sorted_keys, order = ((groups << _ROOM) + keys).sort(1)
    starts = torch.searchsorted(sorted_keys, (sorted_keys >> _ROOM) << _ROOM)
    ranks = torch.arange(keys.shape[1], device=keys.device) - starts
    keys = keys.gather(1, order)
    ranks = torch.where(keys < _EMPTY, ranks, keys.shape[1])
    return order.gather(1, ((ranks << _ROOM) + keys).topk(n, 1, largest=False).indices)
