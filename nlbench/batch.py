"""What streams give and learners take: `Problem`, `Batch` and the base class of every learner.

Shapes: S seeds, B samples in a batch, N samples to predict, C classes (logits), `input_shape` one sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import torch
from torch import Tensor

from nlbench import state
from nlbench.errors import UnknownNameError
from nlbench.kernels.backends import Backend

NEEDS: Final = ("boundaries", "task")
"""What a learner may need that not every run gives."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What a learner is told before the stream starts. All of it but `n_classes` and `steps` is known without the stream: they
    count the labels and the training batches of all tasks to come, and tell nothing else of them.
    """

    input_shape: tuple[int, ...]
    n_classes: int
    seeds: tuple[int, ...]
    scenario: str
    device: torch.device
    backend: str
    steps: int
    """Training batches before the last row is measured, for clocks that must fire at least once and for choices that pay only
    over many steps; not to be used to guess tasks.
    """
    precision: str = "float32"
    """Of matrix products; one of those that the learner declares."""
    sample: Literal["image", "vector", "sequence", "features"] | None = None
    """What a sample is, as its source says; a vector where a stream reorders pixels; None where nobody says."""

    @property
    def n_inputs(self) -> int:
        """Numbers in one flattened sample."""
        return int(torch.Size(self.input_shape).numel())

    def written(self) -> dict[str, Any]:
        """Return what is the same on every machine as JSON has it; `read` makes the problem of it again."""
        return {name: getattr(self, name) for name in self.__slots__ if name not in ("device", "backend")}

    @classmethod
    def read(cls, written: Mapping[str, Any], device: torch.device, backend: str) -> Problem:
        """Return the problem of what `written` returned, on this machine; other keys are let be."""
        said = {name: written[name] for name in cls.__slots__ if name not in ("device", "backend")}
        shape, seeds = (tuple(map(int, said.pop(name))) for name in ("input_shape", "seeds"))
        return cls(input_shape=shape, seeds=seeds, device=device, backend=backend, **said)


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


@dataclass(frozen=True, slots=True)
class Batches:
    """Training batches of every seed, one after another, as rows of data that all seeds share.

    inputs   (N, *input_shape) float32; sample i of seed s is inputs[rows[s, i]]
    rows     (S, n) int64
    labels   (S, n) int64
    size     B: batch k shows samples k B … k B + B - 1, the last one those that are left
    classes, task  as in `Batch`, the same for all
    """

    inputs: Tensor
    rows: Tensor
    labels: Tensor
    size: int
    classes: Tensor
    task: int | None


class Billed:
    """What a learner holds and is billed apart from its parameters, such as a buffer of samples."""

    def memory_bytes(self) -> dict[str, int]:
        """Return bytes per seed by kind, none of which is parameters."""
        raise NotImplementedError


class Learner:
    """A model with its learning rule, for S seeds at once. Subclasses write `observe` and `predict`; the rest has defaults.

    A learner is built as `cls(config, problem)`. It never sees the stream, the metrics or the recorder, and a label reaches
    it only through `observe`. Its state is what it holds: tensors, modules, optimizers, schedules, generators, numbers, and
    containers and plain objects of these, however nested (`nlbench.state`). What a class names in `made_anew`, attributes such as
    open files that hold nothing a resume needs, is no part of it.
    Optional, found by name: `permute_inputs(order)`, where `order` is (S, n_inputs), replaces every tensor's input axis by
    `tensor[..., order]` (first-layer weights, momenta, input statistics), exactly; the harness then permutes the learner
    instead of every image, where a learner of somebody else's is told of boundaries, which that would show it.
    """

    single_seed: ClassVar[bool] = False
    """True for a learner written for one seed: it gets tensors without the seed axis, and the harness loops over seeds."""

    precisions: ClassVar[tuple[str, ...]] = ("float32",)
    """What `Problem.precision` may be: "bf16" too where the learner makes its matrix products in bfloat16 when asked."""

    needs: ClassVar[tuple[str, ...] | None] = None
    """What it cannot do without: "boundaries" where it must be told that a task ended, "task" where it must know at test whose a
    sample is. A run on a stream that does not tell is refused. None: boundaries if it defines `end_task`; () says that it can do
    without.
    """

    exempt: ClassVar[Mapping[str, str]] = {}
    """Checks of `nlbench doctor` that it cannot keep by its nature, each with why: what goes over its samples many times says
    {"one pass": "learns at each boundary from its buffer, 30 passes"}. They are shown wherever the checks are.
    """

    takes_batches: bool = False
    """True for a learner that is faster with `observe_batches` than with `observe`, such as one whose kernels run many steps."""

    backend: Backend = "reference"
    """The implementation of the kernels that trains it, for the record: plain torch, unless a subclass says otherwise."""

    outside: bool = False
    """True for one from outside the package, behind its checked boundary: it is watched more closely."""

    def __init__(self, config: Any, problem: Problem) -> None:
        """Make every tensor of the learner; `config` is its recipe, or the options of an external one as a dict."""

    def observe(self, batch: Batch) -> Tensor:
        """Learn from one batch in stream order; return the loss before the update, (S,), a fresh tensor left on its device.

        Gradients are off: a learner that uses autograd wraps its forward pass in `torch.enable_grad()`.
        """
        raise NotImplementedError

    def observe_batches(self, batches: Batches) -> Tensor:
        """Learn exactly as `observe` does from one batch after another; return their losses (K, S), fresh tensors too."""
        raise NotImplementedError

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        """Return logits (S, N, C) for inputs (1 or S, N, *input_shape); change nothing, draw nothing."""
        raise NotImplementedError

    def end_task(self) -> None:
        """Called after a task's last batch, and only if the stream declares `boundaries = true`; see `needs`."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return every tensor that a bit-exact resume needs: by default all that it holds, see `nlbench.state.collect`."""
        return state.collect(self)

    def everything(self) -> dict[str, Tensor]:
        """Return all in which `predict` may change nothing: by default what a resume needs."""
        return self.state_dict()

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        """Take over a state that `state_dict` returned; the learner does not keep the given tensors.

        Raises `nlbench.state.UnlikeError` where it does not fit.
        """
        state.restore(self, saved)

    def memory_bytes(self) -> dict[str, int]:
        """Return bytes per seed by kind: parameters, optimizer, memory, samples (stored).

        The default takes every tensor to have the seed axis first. What bills itself, as a buffer its samples, is counted so.
        Samples belong in an `nlbench.Buffer`, or are declared by a `memory_bytes` of the learner's own. Kept as other tensors
        they count as parameters, and `nlbench doctor` finds them; as numbers in Python lists they count as nothing, and it does
        not find them.
        """
        held = [value for name, value in state.collect(self).items() if name != state.STRUCTURE]
        own = sum(value.nbytes // (max(len(value), 1) if value.ndim and not self.single_seed else 1) for value in held)
        apart = billed_apart(self)
        return {"parameters": own - sum(apart.values()), **apart}

    def diagnostics(self) -> dict[str, Tensor]:
        """Return named (S,) values to record at each task boundary, such as `level.16.updates`."""
        return {}


def billed_apart(learner: Learner) -> dict[str, int]:
    """Return the bytes per seed by kind of what bills itself: attributes, and items of those that are lists or tuples."""
    found: dict[str, int] = {}
    for value in vars(learner).values():
        for part in value if isinstance(value, list | tuple) else (value,):
            for kind, size in part.memory_bytes().items() if isinstance(part, Billed) else ():
                found[kind] = found.get(kind, 0) + size
    return found


def needs(kind: type[Learner]) -> tuple[str, ...]:
    """Return what a class of learners needs: what it says, or else boundaries if it defines what is called at them.

    Raises `NlbenchError` for a need that there is not.
    """
    if kind.needs is None:
        return () if kind.end_task is Learner.end_task else ("boundaries",)
    said = (kind.needs,) if isinstance(kind.needs, str) else tuple(kind.needs)
    for need in said:
        if need not in NEEDS:
            raise UnknownNameError(f"need of {kind.__name__}", str(need), NEEDS)
    return said


def observes_batches(learner: Learner) -> bool:
    """Return whether `observe_batches` stands for `observe`: the learner says so, and the class that defines the one defines the
    other. One that is inherited may know less than an overridden `observe`.
    """
    owner = next(kind for kind in type(learner).__mro__ if "observe" in vars(kind))
    return learner.takes_batches and "observe_batches" in vars(owner)
