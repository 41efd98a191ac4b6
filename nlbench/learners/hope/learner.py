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
from nlbench.kernels import bind, contexts, metric_update
from nlbench.kernels.graphs import Captured
from nlbench.learners.hope import keys, sizes
from nlbench.learners.hope.config import HopeConfig
from nlbench.learners.hope.levels import Levels
from nlbench.learners.hope.memory import Memory, Reading, values
from nlbench.learners.projected.chain import Told
from nlbench.learners.projected.schedule import AT_ONCE
from nlbench.learners.trial import try_on_gpu

LEAST: Final = 1e-12
"""Probability of a label never seen: what costs a bounded loss."""
LEVELS: Final = "levels."
"""What names of the levels' state begin with."""


class Hope(Learner):
    """Keys, the memory, perhaps levels; `_latest` is what was read last, and of how many samples."""

    made_anew: ClassVar[tuple[str, ...]] = (
        "takes_batches",
        "backend",
        "levels",
        "permute_inputs",
        "_latest",
        "_captured",
        "_at_once",
    )
    takes_batches = True

    def __init__(self, config: HopeConfig, problem: Problem) -> None:
        self._config, self._classes = config, problem.n_classes
        self.keys = keys.of_problem(config, problem)
        like = torch.zeros(len(problem.seeds), device=problem.device)
        op = bind(metric_update, problem.backend, like)
        own = op.beside(contexts, like)
        self.memory = Memory(config, self.keys.width, problem.n_classes, like, own, self.keys.groups)
        own.load()
        self._latest: tuple[int, Reading] | None = None
        learned = config.levels and sizes.has_levels(keys.kind_of(problem), problem.n_inputs, problem.scenario)
        self.levels = Levels(problem, config.contexts, op.backend) if learned else None
        self.backend = op.backend if learned else own.backend
        if isinstance(self.keys, keys.RandomFeatures):
            self.permute_inputs = self._permute_inputs
        self._captured, self._at_once = Captured(self._learn), AT_ONCE if problem.device.type == "cuda" else 1
        try_on_gpu(self, problem)

    def observe(self, batch: Batch) -> Tensor:
        return self._observe(batch.inputs.flatten(2)[:, None], batch.labels[:, None], batch.classes)[0]

    def observe_batches(self, batches: Batches) -> Tensor:
        images, rows, losses, start = batches.inputs.flatten(1), batches.rows, [], 0
        while start < rows.shape[1]:
            self._prepare(min(batches.size, rows.shape[1] - start))
            chunks = self._together((rows.shape[1] - start) // batches.size, batches.size)
            own = slice(start, start + chunks * batches.size)
            shown = rows[:, own].unflatten(1, (chunks, -1))
            inputs = images.index_select(0, shown.flatten()).view(*shown.shape, -1)
            losses.append(self._observe(inputs, batches.labels[:, own].unflatten(1, (chunks, -1)), batches.classes))
            start = own.stop
        return torch.cat(losses)

    def _prepare(self, tokens: int) -> None:
        """Before a chunk of so many tokens: bring up to date what the host decides upon."""
        self.memory.prepare(tokens)
        if self.levels:
            self.levels.settle()

    def _together(self, most: int, size: int) -> int:
        """Return how many of the `most` next chunks of so many tokens to learn in one call, between which nothing falls due."""
        most = max(1, min(most, self.memory.undisturbed(size), self._at_once))
        return self.levels.together(most) if self.levels else 1 << (most.bit_length() - 1)

    def _observe(self, inputs: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
        """Learn n chunks, inputs (S, n, B, D_in) and labels (S, n, B); return their losses (n, S)."""
        memory, levels, chunks = self.memory, self.levels, labels.shape[1]
        self._prepare(labels.shape[2])
        if memory.samples == 0:
            self.keys.fit(inputs[:, 0])
        held = [*self.keys.tensors, *memory.tensors(), *(levels.tensors() if levels else ())]
        kind = memory.samples == 0, levels.kind(chunks) if levels else ()
        losses = self._captured(held, inputs, labels, classes, kind=kind)
        memory.samples += labels[0].numel()
        if levels:
            levels.advance(chunks)
        return losses

    def _learn(self, inputs: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
        """Expect, then write, chunk after chunk; return the losses (n, S) before each."""
        made, chosen, expected, rates = self.keys(inputs.flatten(1, 2)), [], [], []
        for i, chunk in enumerate(made.split(labels.shape[2], 1)):
            own = self.memory.assign(chunk, labels[:, i])
            rates.append(1.0 + self._config.rates * (1.0 - own.expected) * own.plausible)
            self.memory.write(chunk, labels[:, i], own.chosen, rates[-1])
            chosen.append(own.chosen)
            expected.append(own.expected)
        self.memory.gather(torch.cat(rates, 1).sqrt()[..., None] * made)
        if self.levels:
            return self.levels.learn(inputs.flatten(1, 2), Told(labels, classes, contexts=torch.stack(chosen, 1)))
        return -torch.stack(expected).clamp_min(LEAST).log().mean(2)

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        """What is read is solved for now, from every pair so far, if that was not done yet."""
        if self.memory.samples == 0:
            return inputs.new_zeros(len(self.memory.dimension), inputs.shape[1], self._classes)
        if self._latest is None or self._latest[0] != self.memory.samples:
            self._latest = self.memory.samples, self.memory.solve()
        latest, found = self._latest[1], []
        for seed in range(len(self.memory.dimension)):
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
        super().load_state_dict({name: saved[name] for name in saved if not name.startswith(LEVELS)})
        if self.levels:
            self.levels.restore({name.removeprefix(LEVELS): saved[name] for name in saved if name.startswith(LEVELS)})
        self._latest = None

    def memory_bytes(self) -> dict[str, int]:
        """Of contexts, those there are."""
        memory, seeds, used = self.memory, len(self.memory.dimension), int(self.memory.values.used.sum())
        values = used * self._classes
        numbers = (
            memory.gram.numel()
            + memory.values.squares.numel()
            + sum(rows.numel() for rows in memory.pending)
            + values * (2 * self.keys.width + 4)
        )
        kinds = self.levels.sizes(used / seeds) if self.levels else {}
        kinds["parameters"] = kinds.get("parameters", 0) + sum(tensor.nbytes for tensor in self.keys.tensors)
        kinds["memory"] = kinds.get("memory", 0) + numbers * memory.dimension.element_size()
        return {kind: int(size) // seeds for kind, size in kinds.items()}

    def diagnostics(self) -> dict[str, Tensor]:
        """The contexts found, and the ridge that reading took."""
        found = {"contexts": self.memory.values.used.to(self.memory.dimension.dtype)}
        return found | ({"ridge": self._latest[1].ridge} if self._latest else {})
