"""A learner written for one seed, repeated for every seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from nlbench.batch import Batch, Learner, Problem


class EachSeed(Learner):
    """One inner learner per seed; inner tensors have no seed axis, and an inner `problem.seeds` holds that seed alone."""

    def __init__(self, kind: Callable[[Any, Problem], Learner], config: Any, problem: Problem) -> None:
        self.inner = [kind(config, replace(problem, seeds=(seed,))) for seed in problem.seeds]
        self.backend = self.inner[0].backend
        self.outside = self.inner[0].outside
        if hasattr(self.inner[0], "permute_inputs"):
            self.permute_inputs = self._permute_inputs

    def observe(self, batch: Batch) -> Tensor:
        rows: Iterable[tuple[Tensor, Tensor]] = zip(batch.inputs, batch.labels, strict=True)
        if self.outside:  # beside a seed's samples lie those of the others
            rows = ((x.clone(), y.clone()) for x, y in rows)
        shown = zip(self.inner, rows, strict=True)
        return torch.stack([torch.as_tensor(each.observe(replace(batch, inputs=x, labels=y))) for each, (x, y) in shown])

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        inputs = inputs.expand(len(self.inner), *inputs.shape[1:])
        return torch.stack([each.predict(x, task) for each, x in zip(self.inner, inputs, strict=True)])

    def end_task(self) -> None:
        for each in self.inner:
            each.end_task()

    def _permute_inputs(self, order: Tensor) -> None:
        for each, own in zip(self.inner, order, strict=True):
            each.permute_inputs(own)  # type: ignore[attr-defined]

    def state_dict(self) -> dict[str, Tensor]:
        return {f"{i}/{name}": value for i, each in enumerate(self.inner) for name, value in each.state_dict().items()}

    def everything(self) -> dict[str, Tensor]:
        return {f"{i}/{name}": value for i, each in enumerate(self.inner) for name, value in each.everything().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for i, each in enumerate(self.inner):
            prefix = f"{i}/"
            each.load_state_dict({name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)})

    def memory_bytes(self) -> dict[str, int]:
        return self.inner[0].memory_bytes()

    def diagnostics(self) -> dict[str, Tensor]:
        values = [each.diagnostics() for each in self.inner]
        return {name: torch.stack([value[name] for value in values]) for name in values[0]}
