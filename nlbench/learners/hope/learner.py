"""HOPE as a continual learner: slow keys, and a memory that makes its own values, metric and rates.

A batch is a chunk. What it is made of: keys by filters that turned once into the metric of the first chunk (`keys`, the slowest
level), the memory's gram, sums and contexts (`memory`), belief and doubt about which context is going on now (the fast level),
and what is solved for from all of it. It is told inputs and labels; tasks, boundaries and contexts it finds itself, if at all.

Shapes: S seeds, n chunks, B samples of a chunk, C classes.
Source: Behrouz et al. 2025 (arXiv 2512.24695), eq. 59 with an accumulated metric and eq. 83-90 for values and rates of its own;
what its parts are by themselves stands in their modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import torch
from torch import Tensor

from nlbench.batch import Batch, Batches, Learner, Problem
from nlbench.kernels import bind, metric_update
from nlbench.learners.hope import keys, sizes
from nlbench.learners.hope.config import HopeConfig
from nlbench.learners.hope.levels import Levels
from nlbench.learners.hope.memory import Memory, Reading, read, values

SOONEST: Final = 128
"""Samples between two times that rates look at what is solved for; an eighth of all so far where that is more."""
LEAST: Final = -27.6
"""Logarithm of the probability of a label never seen: what costs a bounded loss."""
LEVELS: Final = "levels."
"""What names of the levels' state begin with."""


class Hope(Learner):
    """Keys, the memory, perhaps levels; `_solved` is what rates and losses are read from, `_latest` what tests are."""

    made_anew: ClassVar[tuple[str, ...]] = ("takes_batches", "backend", "levels", "permute_inputs", "_latest")
    takes_batches = True

    def __init__(self, config: HopeConfig, problem: Problem) -> None:
        self._config, self._classes = config, problem.n_classes
        self.keys = keys.of_problem(config, problem)
        like = torch.zeros(len(problem.seeds), device=problem.device)
        op = bind(metric_update, problem.backend, like)
        self.backend = op.backend
        self.memory = Memory(config, self.keys.width, problem.n_classes, like, op)
        op.load(exact=True, protects=False)
        self._solved: Reading | None = None
        self._next_solution = SOONEST
        self._latest: tuple[int, Reading] | None = None
        learned = config.levels and sizes.has_levels(keys.kind_of(problem), problem.n_inputs, problem.scenario)
        self.levels = Levels(problem, config.contexts, self.backend) if learned else None
        if isinstance(self.keys, keys.RandomFeatures):
            self.permute_inputs = self._permute_inputs

    def observe(self, batch: Batch) -> Tensor:
        return self._learn(batch.inputs.flatten(2), batch.labels, batch.classes)

    def observe_batches(self, batches: Batches) -> Tensor:
        images, losses = batches.inputs.flatten(1), []
        for rows, labels in zip(batches.rows.split(batches.size, 1), batches.labels.split(batches.size, 1), strict=True):
            inputs = images.index_select(0, rows.flatten()).view(*rows.shape, -1)
            losses.append(self._learn(inputs, labels, batches.classes))
        return torch.stack(losses)

    def _learn(self, inputs: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
        """Read, then write, one chunk of inputs (S, B, D_in) and labels (S, B); return the loss (S,) before."""
        if self.memory.samples == 0:
            self.keys.fit(inputs)
        chunk = self.keys(inputs)
        chosen = self.memory.assign(chunk, labels)
        solved = self._solved
        logs = read(chunk, solved, self._classes) if solved else chunk.new_zeros(*labels.shape, self._classes)
        logs = logs.masked_fill(~classes, -torch.inf).log_softmax(2).gather(2, labels[..., None])[..., 0].clamp_min(LEAST)
        rates = 2.0 - logs.exp() if self._config.rates and solved else torch.ones_like(logs)
        self.memory.write(chunk, labels, chosen, rates)
        if self.memory.samples >= self._next_solution:
            self._solved = self.memory.solve()
            self._next_solution = self.memory.samples + max(SOONEST, self.memory.samples // 8)
        return self.levels.learn(inputs, labels, classes, chosen) if self.levels else -logs.mean(1)

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        """What is read is solved for now, from every pair so far, if that was not done yet."""
        if self.memory.samples == 0:
            return inputs.new_zeros(len(self.memory.used), inputs.shape[1], self._classes)
        if self._latest is None or self._latest[0] != self.memory.samples:
            self._latest = self.memory.samples, self.memory.solve()
        latest, found = self._latest[1], []
        for seed in range(len(self.memory.used)):
            reading, shown = Reading(*(part[seed : seed + 1] for part in latest)), inputs[min(seed, len(inputs) - 1)].flatten(1)
            made = self.keys.of_seed(seed, shown)
            own = values(made[None], reading, self._classes)
            found.append(self.levels.read(seed, shown, own[0].logsumexp(2).log_softmax(1)) if self.levels else own.amax(2))
        return torch.cat(found)

    def _permute_inputs(self, order: Tensor) -> None:
        """Reorder the inputs, order (S, D_in)."""
        assert isinstance(self.keys, keys.RandomFeatures)
        self.keys.permute_inputs(order)
        if self.levels:
            self.levels.permute_inputs(order)

    def state_dict(self) -> dict[str, Tensor]:
        levels = self.levels.state() if self.levels else {}
        return {**super().state_dict(), **{f"{LEVELS}{name}": value for name, value in levels.items()}}

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        super().load_state_dict({name: value for name, value in saved.items() if not name.startswith(LEVELS)})
        if self.levels:
            self.levels.restore({name.removeprefix(LEVELS): value for name, value in saved.items() if name.startswith(LEVELS)})
        self._latest = None

    def memory_bytes(self) -> dict[str, int]:
        """Of contexts, those there are."""
        memory, seeds = self.memory, len(self.memory.used)
        values = int(memory.used.sum()) * self._classes
        numbers = (
            memory.gram.numel()
            + memory.squares.numel()
            + sum(rows.numel() for rows in memory.pending)
            + values * (2 * memory.gram.shape[-1] + 4)
        )
        kinds = self.levels.sizes(int(memory.used.sum()) / seeds) if self.levels else {}
        kinds["parameters"] = kinds.get("parameters", 0) + sum(tensor.nbytes for tensor in self.keys.tensors)
        kinds["memory"] = kinds.get("memory", 0) + numbers * memory.gram.element_size()
        return {kind: int(size) // seeds for kind, size in kinds.items()}

    def diagnostics(self) -> dict[str, Tensor]:
        """The contexts found, and the ridge that reading took."""
        found = {"contexts": self.memory.used.to(self.memory.gram.dtype)}
        return found | ({"ridge": self._latest[1].ridge} if self._latest else {})
