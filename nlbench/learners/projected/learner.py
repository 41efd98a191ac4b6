"""Fixed features, levels from slow to fast, and a read-out: memories that retain in the metric of past keys.

A batch is a chunk of tokens of one stream: predict, then write; labels enter only as what is written. Every memory retains in
the metric of the keys it has been written with (`kernels.metric_update`), and the read-out makes its own values and rates from
what it reads. Keys, rates and retentions may come from memories of their own (`self_reference`).

Shapes: S seeds, n chunks, B tokens of a chunk, C classes.
Source: fixed features with the exact read-out are recursive ridge regression, as in ACIL (Zhuang et al. 2022), RanPAC (McDonnell
et al. 2023) and RanDumb (Prabhu et al. 2024). Levels that step along Δᵀ K (I + A / λ)⁻¹ are orthogonal weights modification (Zeng
et al. 2019). Both follow from eq. 59 of Behrouz et al. 2025 (arXiv 2512.24695) with an accumulated metric; periods are its eq.
70-71, values and rates of the read-out's own its eq. 88.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import groupby
from typing import Final

import torch
from torch import Tensor

from nlbench.batch import Batch, Batches, Learner, Problem
from nlbench.kernels.graphs import Captured
from nlbench.learners.projected.chain import Chain, Told
from nlbench.learners.projected.config import ProjectedConfig
from nlbench.learners.projected.continuum import Continuum
from nlbench.learners.projected.features import KEYS, RandomFeatures
from nlbench.learners.projected.memory import with_constant
from nlbench.learners.projected.schedule import Schedule
from nlbench.learners.projected.self_reference import Fading, SelfReferences
from nlbench.learners.trial import try_on_gpu
from nlbench.nested.clocks import check_all_fire

PREDICTED_AT_ONCE: Final = 500
"""Samples, on a CPU: features take far more room than the samples."""


class Projected(Learner):
    """Features, self-references if there are any, the continuum memory; a schedule, and the chain that learns."""

    def __init__(self, config: ProjectedConfig, problem: Problem) -> None:
        check_all_fire([level.period for level in config.levels], problem.steps)
        self.schedule, self.step, self._seeds = Schedule.of(config), 0, len(problem.seeds)
        self.features, made = KEYS[config.keys.kind](config.keys, problem), config.self_reference
        self.self_references = SelfReferences(made, self.features.width, problem) if made else None
        self.continuum = Continuum(config, self.features.width, problem, self.backend)
        self.backend = self.continuum.backend
        self._chain = Chain(self.continuum, self.schedule)
        waits = self.self_references is not None or config.readout.rule == "dgd"  # for the host, in torch's solver
        self._captured = None if waits else Captured(self._learn)
        self.takes_batches = self.continuum.many_at_once and not waits
        if isinstance(self.features, RandomFeatures) or not (self.features.tensors or self.self_references):
            self.permute_inputs = self._permute_inputs  # convolutions, and memories that read inputs, need these in place
        try_on_gpu(self, problem)

    def observe(self, batch: Batch) -> Tensor:
        return self._observe(batch.inputs.flatten(2)[:, None], batch.labels[:, None], batch.classes)[0]

    def observe_batches(self, batches: Batches) -> Tensor:
        images, rows, labels = batches.inputs.flatten(1), batches.rows, batches.labels
        losses, start = [], 0
        while start < rows.shape[1]:
            left = (rows.shape[1] - start) // batches.size
            chunks = self.schedule.together(self.step, left) if self.takes_batches else 1
            own = slice(start, start + chunks * batches.size)
            shown = rows[:, own].unflatten(1, (chunks, -1))
            inputs = images.index_select(0, shown.flatten()).view(*shown.shape, -1)
            losses.append(self._observe(inputs, labels[:, own].unflatten(1, (chunks, -1)), batches.classes))
            start = own.stop
        return torch.cat(losses)

    def _observe(self, inputs: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
        """Learn n chunks, inputs (S, n, B, D_in) and labels (S, n, B); return their losses (n, S)."""
        before, self.step = self.step, self.step + labels.shape[1]
        self.continuum.settle()
        if self.features.gather(inputs.flatten(1, 2)):
            self._forget()
        learn = self._learn
        if self._captured:
            held = [*self.features.tensors, *self.continuum.tensors().values(), *self.continuum.parts()]
            learn = partial(self._captured, held, kind=self.schedule.kind(before, labels.shape[1]))
        losses = learn(inputs, labels, classes)
        self.continuum.refresh(protects=self.schedule.protects(self.step), solves=self.schedule.solves(self.step))
        return losses

    def _learn(self, inputs: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
        """Predict, then write, chunk after chunk: return the losses (n, S) before each."""
        keys, fading = self.features.of_chunks(inputs), None
        if self.self_references:
            slow, keys = keys, self.self_references.keys(keys)
            fading = Fading.of(self.self_references.write(slow))
            self.continuum.fade(fading.left)
        return self._chain.learn(with_constant(keys), Told(labels, classes, fading), self.step - labels.shape[1])

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        """Seed by seed: what lies between two memories stays in the cache."""
        readings = []
        for seed in range(self._seeds):
            own = inputs[min(seed, len(inputs) - 1)].flatten(1)
            parts = own.split(PREDICTED_AT_ONCE) if own.device.type == "cpu" else [own]
            readings.append(torch.cat([self._read(seed, part) for part in parts], 1))
        return torch.cat(readings)

    def _read(self, seed: int, inputs: Tensor) -> Tensor:
        """Return what one seed answers (1, N, C) to inputs (N, D_in)."""
        read = self.features.of_seed(seed, inputs)
        return self.continuum.answers(seed, self.self_references.of_seed(seed, read) if self.self_references else read)

    def _forget(self) -> None:
        """Drop all that was gathered: the features changed, and what was gathered of the old ones says nothing of the new."""
        self.continuum.forget()
        if self.self_references:
            self.self_references.forget()

    def _permute_inputs(self, order: Tensor) -> None:
        """Reorder the inputs, order (S, D_in), in place: steps captured on a GPU know where tensors lie. What was gathered
        follows when it is used next: evaluation reorders to and fro.
        """
        changes = self.features if isinstance(self.features, RandomFeatures) else None
        (changes.permute_inputs if changes else self.continuum.permute)(order)

    def _lists(self) -> dict[str, list[Tensor]]:
        """Return by name the lists of tensors whose shapes may change."""
        written = {"self_references": self.self_references.tensors} if self.self_references else {}
        return {"features": self.features.tensors, **written}

    def state_dict(self) -> dict[str, Tensor]:
        lists = {f"{name}.{i}": each for name, tensors in self._lists().items() for i, each in enumerate(tensors)}
        return {"step": torch.tensor(self.step), **lists, **self.continuum.state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.step = int(state["step"])
        for name, tensors in self._lists().items():
            tensors[:] = [_became(own, state[f"{name}.{i}"]) for i, own in enumerate(tensors)]
        self.continuum.restore(state)

    def memory_bytes(self) -> dict[str, int]:
        """Initial states of self-references are parameters, what was written since is memory."""
        sizes = self.continuum.sizes()
        initial, *written = self.self_references.tensors if self.self_references else (torch.empty(0),)
        sizes["parameters"] += sum(tensor.nbytes for tensor in (*self.features.tensors, initial))
        sizes["memory"] += sum(tensor.nbytes for tensor in written)
        return {kind: size // self._seeds for kind, size in sizes.items()}

    def diagnostics(self) -> dict[str, Tensor]:
        """Updates of each level, and its plasticity: the mean share of a step that its metric lets through."""
        found = {}
        for period, layers in groupby(self.continuum.levels, lambda level: level.writing.period):
            projections = [layer.projection.diagonal(dim1=1, dim2=2) for layer in layers if layer.protected]
            found[f"level.{period}.updates"] = torch.full((self._seeds,), float(self.step // period))
            if projections:
                found[f"level.{period}.plasticity"] = torch.cat(projections, 1).mean(1)
        return found


def _became(own: Tensor, saved: Tensor) -> Tensor:
    """Return a tensor that has become a saved one, which may have another shape."""
    return own.copy_(saved) if own.shape == saved.shape else saved.to(own.device).clone()
