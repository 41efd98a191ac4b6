"""HOPE as a continual learner: fixed features, a continuum memory from slow to fast, and a read-out memory that remember.

A batch is a chunk of tokens of one stream: predict, then write; labels enter only as what is written. Every memory retains in
the metric of the keys it has been written with (`kernels.metric_update`), and the read-out makes its own values and rates from
what it reads. Keys, rates and retentions may come from memories of their own (`hope_self_reference`).

Shapes: S seeds, B tokens of a chunk, D width of a key, C classes.
Source: Behrouz et al. 2025 (arXiv 2512.24695), eq. 59 with an accumulated metric, eq. 70-71 and 88.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from nlbench import seeds as draws
from nlbench.batch import Batch, Learner, Problem
from nlbench.kernels.backends import Backend, resolve
from nlbench.kernels.batch_product import batch_product
from nlbench.kernels.branches import Branches
from nlbench.kernels.metric_update import (
    accumulate,
    bounded,
    directed_step,
    least_squares,
    metric_step,
    protecting,
    protecting_all,
)
from nlbench.kernels.mlp_logits import mlp_logits
from nlbench.kernels.softmax import cross_entropy
from nlbench.learners.features import KEYS, Convolution, permuted_square
from nlbench.learners.hope_self_reference import SelfReferences, Writes
from nlbench.learners.replay import Replay, rehearse
from nlbench.nested.clocks import check_all_fire, due
from nlbench.nested.rules import dgd
from nlbench.specs.hope import HopeConfig

READOUT_GAIN: Final = 0.1
"""A read-out that learns by steps starts at this share of the usual scale, so that its first readings are nearly even."""


class Hope(Learner):
    """Features, levels from slow to fast, read-out. A memory is a matrix whose last column is its bias; the last of `memories`
    is the read-out.

    `metrics[i]` is the Gram matrix of the keys of memory i, `inverses[i]` what it protected at the last refresh, `pending[i]`
    the steps that a slow level has gathered in its period, `products` the Σ k vᵀ of an exact read-out. What a memory does not
    need is empty.
    """

    def __init__(self, config: HopeConfig, problem: Problem) -> None:
        check_all_fire([level.period for level in config.levels], problem.steps)
        self._config, self._readout = config, config.readout
        self._features = None if config.keys.kind == "inputs" else KEYS[config.keys.kind](config.keys, problem)
        self.features = self._features.tensors if self._features else []  # the same list: saved and restored with the learner
        seeds, n, device = len(problem.seeds), problem.n_inputs, problem.device
        slow = self._features.width if self._features else n
        self._self_references = SelfReferences(config.self_reference, slow, problem) if config.self_reference else None
        self.self_references = self._self_references.tensors if self._self_references else []
        widths = [slow, *(level.width for level in config.levels), problem.n_classes]
        self.memories = [_initial(problem, f"memory{i}", *sizes) for i, sizes in enumerate(pairwise(widths))]
        self.memories[-1] *= READOUT_GAIN if self._readout.rule == "protected" else 0.0
        self._protects = [config.metric] * len(config.levels) + [self._readout.rule == "protected"]
        exact = self._readout.rule == "exact"
        if exact or any(self._protects):
            self.backend = resolve(metric_step.__module__, problem.backend, self.memories[0])
        self._product_backend: Backend = "numba" if self.backend == "numba" else "reference"
        if self.backend == "numba":
            _load_machine_code(exact, any(self._protects))
        self.metrics = [
            torch.zeros(seeds, size, size, device=device)
            for size in _kept(widths, [*self._protects[:-1], self._protects[-1] or exact])
        ]
        self.inverses = [torch.eye(size, device=device).repeat(seeds, 1, 1) for size in _kept(widths, self._protects)]
        self.products = torch.zeros(seeds, widths[-2] + 1 if exact else 0, problem.n_classes, device=device)
        self.pending = [
            torch.zeros_like(memory) if level.period > 1 else memory[:, :0].clone()
            for level, memory in zip(config.levels, self.memories, strict=False)
        ]
        self.step = torch.zeros((), dtype=torch.int64)
        self._replay = Replay(self._learn)
        self._branches = Branches(len(self.memories), device)
        self.owed_order = torch.arange(n, device=device).repeat(seeds, 1)
        self._owes = False
        if not (isinstance(self._features, Convolution) or (self._self_references and not self._features)):
            self.permute_inputs = self._permute_inputs  # convolutions, and memories that read inputs, need these in place
        rehearse(self, problem)

    def observe(self, batch: Batch) -> Tensor:
        self.step = self.step + 1
        self._settle_order()
        inputs = batch.inputs.flatten(2)
        if self._features and self._features.gather(inputs):
            self._forget()
        held = [*self.features, *self.memories, *self.metrics, *self.inverses, *self.pending, self.products]
        step, levels = int(self.step), self._config.levels
        kind = (due(step, self._config.share), *(due(step, level.period) for level in levels))
        solves = self._self_references or self._readout.rule == "dgd"  # torch's solver cannot be captured
        learn = self._learn if solves else partial(self._replay, held, kind=kind)
        loss = learn(inputs, batch.labels, batch.classes)
        self._refresh()
        return loss

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        """Seed by seed: what lies between two memories stays in the cache."""
        readings = []
        for seed in range(len(self.memories[0])):
            read = inputs[min(seed, len(inputs) - 1)].flatten(1)
            read = self._features.of_seed(seed, read) if self._features else read
            read = self._self_references.of_seed(seed, read) if self._self_references else read
            own = [memory[seed : seed + 1] for memory in self.memories]
            weights, biases = [each[..., :-1] for each in own], [each[..., -1] for each in own]
            readings.append(mlp_logits(weights, biases, read[None], backend=self._product_backend))
        return torch.cat(readings)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict(state)
        self._owes = True

    def memory_bytes(self) -> dict[str, int]:
        seeds = len(self.memories[0])

        def size(*tensors: Tensor) -> int:
            return sum(tensor.nbytes for tensor in tensors) // seeds

        return {
            "parameters": size(*self.memories, *self.features, *self.self_references[:1]),
            "optimizer": size(*self.pending),
            "memory": size(*self.metrics, *self.inverses, self.products, *self.self_references[1:]),
        }

    def diagnostics(self) -> dict[str, Tensor]:
        """Updates of each level, and its plasticity: the mean share of a step that its metric lets through."""
        found = {}
        for level, memory, inverse in zip(self._config.levels, self.memories, self.inverses, strict=False):
            updates = float(self.step // level.period)
            found[f"level.{level.period}.updates"] = torch.full((len(memory),), updates, device=memory.device)
            if inverse.numel():
                found[f"level.{level.period}.plasticity"] = inverse.diagonal(dim1=1, dim2=2).mean(1)
        return found

    def _learn(self, inputs: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
        """Predict, then write: return the loss (S,) before it."""
        slow = self._features(inputs) if self._features else inputs.expand(len(self.memories[0]), -1, -1)
        keys, directions, readings = self._read(slow)
        loss, surprises, rates = self._surprises(readings, labels, classes)
        if self._self_references:
            rates = rates * self._fade(self._self_references.write(slow))
        below = [surprises * (rates / rates.shape[1])]
        for memory, key in zip(reversed(self.memories[1:]), reversed(keys[1:]), strict=True):
            errors = batch_product(below[-1], memory, backend=self._product_backend)[..., :-1]
            below.append(errors * (key[..., :-1] > 0))
        with self._branches.branch(len(keys) - 1):
            self._write_readout(keys[-1], directions[-1], readings, surprises, rates)
        for i, own in enumerate(reversed(below[1:])):
            with self._branches.branch(i):
                self._write_level(i, keys[i], directions[i], own)
        self._branches.join()
        return loss

    def _read(self, slow: Tensor) -> tuple[list[Tensor], list[Tensor | None], Tensor]:
        """Return the key of every memory, (S, N, D) with the constant 1 last, the directions of their steps, and what the
        read-out reads, (S, N, C), for slow keys (S, N, D).
        """
        keys = [with_constant(self._self_references.keys(slow) if self._self_references else slow)]
        directions = [self._directions(0, keys[0])]
        for i, memory in enumerate(self.memories[:-1], 1):
            keys.append(with_constant(batch_product(keys[-1], memory.mT, backend=self._product_backend).relu_()))
            directions.append(self._directions(i, keys[i]))
        return keys, directions, batch_product(keys[-1], self.memories[-1].mT, backend=self._product_backend)

    def _directions(self, i: int, keys: Tensor) -> Tensor | None:
        """Return keys projected by what memory i protects, made in its branch; None where its step makes them itself."""
        if not (self._branches and self._protects[i]):
            return None
        with self._branches.branch(i):
            return keys @ self.inverses[i]

    def _surprises(self, readings: Tensor, labels: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss (S,), how far each reading is from the value written for it (S, B, C), and each token's rate (S, B, 1).

        Values and rates are the read-out's own: they depend on what it reads now.
        """
        one_hot = F.one_hot(labels, readings.shape[-1]).to(readings.dtype)
        if self._readout.rule == "protected":
            loss, gradient = cross_entropy(readings, labels, classes)
            surprises = gradient * readings.shape[1]
            answers = one_hot + surprises  # the softmax
        else:
            loss = (readings - one_hot).square().sum(-1).mean(1) / 2
            surprises = readings - own_values(readings, one_hot, self._readout.slack)
            answers = readings
        return loss, surprises, own_rates(answers, one_hot, classes, self._readout.surprise)

    def _write_readout(self, keys: Tensor, directions: Tensor | None, readings: Tensor, surprises: Tensor, rates: Tensor) -> None:
        readout = self._readout
        if readout.rule == "exact":
            accumulate(self.metrics[-1], rates.sqrt() * keys, retain=readout.retain, backend=self.backend)
            self.products.mul_(readout.retain).baddbmm_(keys.mT, rates * (readings - surprises))
        elif readout.rule == "protected":
            own = surprises * (rates / rates.shape[1])
            self._step(-1, self.memories[-1], keys, directions, own, -readout.rate, readout.retain)
        else:
            per_length = readout.rate / keys.shape[-1]  # keys are as long as the root of their width
            self.memories[-1].copy_(dgd(self.memories[-1], keys, surprises, per_length * rates[..., 0]).weights)

    def _write_level(self, i: int, keys: Tensor, directions: Tensor | None, surprises: Tensor) -> None:
        """Make a level's step, or add it to those pending and make their mean when the level's period ends."""
        level = self._config.levels[i]
        if level.period == 1:
            self._step(i, self.memories[i], keys, directions, surprises, -level.rate, level.retain)
        else:
            self._step(i, self.pending[i], keys, directions, surprises, 1.0, level.retain)
            if due(int(self.step), level.period):
                self.memories[i].sub_(self.pending[i], alpha=level.rate / level.period)
                self.pending[i].zero_()

    def _step(
        self,
        i: int,
        target: Tensor,
        keys: Tensor,
        directions: Tensor | None,
        surprises: Tensor,
        rate: float,
        retain: float,
    ) -> None:
        """Add `rate` times the gradient step of memory i to `target`, projected by what its metric protects, and take the keys of
        every `share`-th chunk into the metric, as many times; a chunk counts one, whatever its length.
        """
        share, bound = self._config.share, self._config.bound
        if not self._protects[i]:
            target.baddbmm_(bounded(surprises, keys, bound).mT, keys, alpha=rate)
            return
        gathers = due(int(self.step), share)
        options: dict[str, float] = {
            "rate": -rate,
            "bound": bound,
            "share": share / keys.shape[1] if gathers else 0.0,
            "retain": retain if gathers else 1.0,
        }
        if directions is None:
            metric_step(target, self.metrics[i], self.inverses[i], keys, surprises, **options, backend=self.backend)
        else:
            directed_step(target, self.metrics[i], keys, directions, surprises, **options, backend=self.backend)

    def _refresh(self) -> None:
        """Every `refresh` steps bring up to date what the metrics protect, and the memory that an exact read-out solves for.

        Before that, what protects is renewed at steps 1, 2, 4, …: from one to the next the metrics double.
        """
        step, every = int(self.step), self._config.refresh
        if due(step, every) or (step < every and step.bit_count() == 1):
            ridges = [*(level.ridge for level in self._config.levels), self._readout.ridge]
            kept = [i for i, inverse in enumerate(self.inverses) if inverse.numel()]
            found = protecting_all([self.metrics[i] for i in kept], [ridges[i] for i in kept], backend=self.backend)
            for i, inverse in zip(kept, found, strict=True):
                self.inverses[i].copy_(inverse)
        if self._readout.rule == "exact" and due(step, every):
            solved = least_squares(self.metrics[-1], self.products, self._readout.ridge, backend=self.backend)
            self.memories[-1].copy_(solved)

    def _fade(self, writes: Writes) -> Tensor:
        """Let metrics and sums, and a memory that has none, keep what the chunk leaves of them; return its tokens' rates
        (S, B, 1), each with what later tokens of the chunk leave of it.
        """
        left = F.pad(writes.retained, (0, 1), value=1.0).flip(1).cumprod(1).flip(1)
        held = [*self.metrics, self.products, *(self.memories[-1:] if self._readout.rule == "dgd" else [])]
        for tensor in held:
            tensor.mul_(left[:, :1, None])
        return (writes.rates * left[:, 1:])[..., None]

    def _forget(self) -> None:
        """Empty all metrics: the features changed, and what was gathered of the old ones says nothing of the new."""
        for tensor in (*self.metrics, self.products):
            tensor.zero_()
        if self._self_references:
            self._self_references.forget()

    def _permute_inputs(self, order: Tensor) -> None:
        """Reorder the inputs, order (S, D_in), in place: steps captured on a GPU know where tensors lie. Metrics follow when
        they are used next: evaluation reorders to and fro.
        """
        if self._features:
            self._features.permute_inputs(order)
            return
        columns = _with_last(order)[:, None]
        for tensors in (self.memories, self.pending):
            if tensors and tensors[0].numel():
                tensors[0].copy_(tensors[0].gather(2, columns.expand_as(tensors[0])))
        self.owed_order = self.owed_order.gather(1, order)
        self._owes = True

    def _settle_order(self) -> None:
        """Bring the first memory's metric into the order its columns stand in."""
        if not self._owes:
            return
        self._owes = False
        home = torch.arange(self.owed_order.shape[1], device=self.owed_order.device).expand_as(self.owed_order)
        if torch.equal(self.owed_order, home):
            return
        order = _with_last(self.owed_order)
        for tensors in (self.metrics, self.inverses):
            if tensors[0].numel():
                tensors[0].copy_(permuted_square(tensors[0], order))
        if len(self.memories) == 1 and self.products.numel():
            self.products.copy_(self.products.gather(1, order[..., None].expand_as(self.products)))
        self.owed_order = home.clone()


def with_constant(inputs: Tensor) -> Tensor:
    """Return keys (..., D + 1): the inputs (..., D) and a constant 1, so that a bias is one more weight."""
    return torch.cat([inputs, torch.ones_like(inputs[..., :1])], -1)


def _load_machine_code(exact: bool, protects: bool) -> None:
    """Use each kernel needed once, on one number: code is loaded, or compiled where this version never ran, before a batch is
    timed.
    """
    one = torch.ones(1, 1, 1)
    mlp_logits([one], [one[0]], one, backend="numba")
    if exact:
        accumulate(one.clone(), one, backend="numba")
        least_squares(one, one, 1.0, backend="numba")
    if protects:
        batch_product(one, one, backend="numba")
        metric_step(one.clone(), one.clone(), one, one, one, rate=0.0, backend="numba")
        protecting(one, 1.0, backend="numba")


def own_values(readings: Tensor, labels: Tensor, slack: float) -> Tensor:
    """Return the values (S, B, C) that a memory writes for labels (S, B, C) of 0 and 1: its readings, brought within the labels.

    A reading may exceed its label's 1, or fall below another's 0, by up to `slack` without being an error; 0 writes the labels.
    """
    return torch.where(labels > 0, readings.clamp(1.0, 1.0 + slack), readings.clamp(-slack, 0.0))


def own_rates(answers: Tensor, labels: Tensor, classes: Tensor, gain: float) -> Tensor:
    """Return each token's rate (S, B, 1), 1 + gain * surprise: what it lacks of a margin of 1 over the best wrong class.

    answers and labels (S, B, C), labels of 0 and 1; classes (C,) are those that compete.
    """
    right = (answers * labels).sum(-1, keepdim=True)
    wrong = answers.masked_fill(labels.bool() | ~classes, -torch.inf).amax(-1, keepdim=True)
    return 1.0 + gain * (1.0 - right + wrong).clamp(0.0, 1.0)


def _initial(problem: Problem, name: str, d_in: int, d_out: int) -> Tensor:
    """Return a memory (S, d_out, d_in + 1) drawn from N(0, 2 / d_in), the scale that ReLUs keep (He et al. 2015); no bias."""
    weight = torch.from_numpy(draws.normal(problem.seeds, f"init/{name}", (d_out, d_in))).to(problem.device) * (2.0 / d_in) ** 0.5
    return torch.cat([weight, weight.new_zeros(*weight.shape[:-1], 1)], -1)


def _kept(widths: list[int], wanted: list[bool]) -> list[int]:
    """Return the width of each memory's keys, or 0 where nothing is wanted."""
    return [width + 1 if keep else 0 for width, keep in zip(widths, wanted, strict=False)]


def _with_last(order: Tensor) -> Tensor:
    """Return the order (S, n) of the inputs as one of n + 1 columns: the constant stays last."""
    return torch.cat([order, torch.full_like(order[:, :1], order.shape[1])], 1)
