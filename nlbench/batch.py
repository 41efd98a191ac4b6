"""What streams give and learners take: `Problem`, `Batch` and the base class of every learner.

Shapes: S seeds, B samples in a batch, N samples to predict, C classes (logits), `input_shape` one sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Problem:
    """What a learner is told before the stream starts; nothing in it depends on the tasks to come."""

    input_shape: tuple[int, ...]
    n_classes: int
    seeds: tuple[int, ...]
    scenario: str
    device: torch.device
    backend: str
    steps: int
    """Training batches in the whole stream, for clocks that must fire at least once; not to be used to guess tasks."""

    @property
    def n_inputs(self) -> int:
        """Numbers in one flattened sample."""
        return int(torch.Size(self.input_shape).numel())


@dataclass(frozen=True, slots=True)
class Batch:
    """One training batch of every seed.

    inputs   (S, B, *input_shape) float32
    labels   (S, B) int64, an index into the logits
    classes  (C,) bool, the logits that compete now
    task     the task's number, 1…T, only where the scenario reveals it (`task-il`); otherwise None
    """

    inputs: Tensor
    labels: Tensor
    classes: Tensor
    task: int | None


class Learner:
    """A model with its learning rule, for S seeds at once. Subclasses write `observe` and `predict`; the rest has defaults.

    A learner is built as `cls(config, problem)`. It never sees the stream, the metrics or the recorder, and a label reaches
    it only through `observe`. Its tensor attributes, and lists of tensors, are its state: the defaults of `state_dict`,
    `load_state_dict` and `memory_bytes` read those. Optional, found by name: `permute_inputs(order)`, where `order` is (S,
    n_inputs), replaces every tensor's input axis by `tensor[..., order]` (first-layer weights, momenta, input statistics),
    exactly; the harness then permutes the learner instead of every image.
    """

    single_seed: ClassVar[bool] = False
    """True for a learner written for one seed: it gets tensors without the seed axis, and the harness loops over seeds."""

    def __init__(self, config: Any, problem: Problem) -> None:
        """Make every tensor of the learner; `config` is its recipe, or the options of an external one as a dict."""

    def observe(self, batch: Batch) -> Tensor:
        """Learn from one batch in stream order; return the loss before the update, (S,), a fresh tensor left on its device."""
        raise NotImplementedError

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        """Return logits (S, N, C) for inputs (1 or S, N, *input_shape); change nothing, draw nothing."""
        raise NotImplementedError

    def end_task(self) -> None:
        """Called after a task's last batch, and only if the stream declares `boundaries = true`."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return every tensor that a bit-exact resume needs."""
        state = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                state[name] = value
            elif isinstance(value, list):
                state |= {f"{name}.{i}": item for i, item in enumerate(value) if isinstance(item, Tensor)}
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over a state that `state_dict` returned; the learner does not keep the given tensors."""
        for key, own in self.state_dict().items():
            value = state[key].to(device=own.device, dtype=own.dtype).clone()
            name, _, index = key.partition(".")
            if index:
                getattr(self, name)[int(index)] = value
            else:
                setattr(self, name, value)

    def memory_bytes(self) -> dict[str, int]:
        """Return bytes per seed by kind: parameters, optimizer, memory, samples (stored)."""
        return {"parameters": sum(value.nbytes for value in self.state_dict().values())}

    def diagnostics(self) -> dict[str, Tensor]:
        """Return named (S,) values to record at each task boundary, such as `level.16.updates`."""
        return {}
