"""How a backend of a kernel op is judged: a case, its inputs in float64 from a seed, and the rule that its errors must keep.

Ops are run through `Case.run`, which returns outputs and, for differentiable ops, the gradients of a fixed linear functional of
the outputs. A backend passes if on every tensor its distance from the float64 reference is at most 4 times the reference's own
distance at the backend's precision, plus a floor of a few roundings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor

from nlbench.kernels.backends import Backend

SLACK: Final = 4.0
FLOOR_ROUNDINGS: Final = 8.0

Tensors = dict[str, Tensor]
Edit = Callable[[Tensors], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One shape and edge of an op. `make` draws the inputs, `call` runs the op on them; sizes and options are their arguments.

    flops, bytes  floating-point operations of one forward pass, and what it must move, for the cases that are timed
    device        where it is timed: "cuda" for sizes that only a GPU finishes in time
    dtypes        those that plain torch keeps enough of, for an error beside its own to say anything
    refused_by    backends that cannot run it, whatever the tensors
    """

    op: str
    name: str
    make: Callable[..., Tensors]
    call: Callable[..., Tensors]
    sizes: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    edit: Edit | None = None
    differentiable: bool = True
    flops: float = 0.0
    bytes: float = 0.0
    device: str = "cpu"
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16)
    refused_by: tuple[Backend, ...] = ()

    @property
    def timed(self) -> bool:
        """Whether the case is large enough for its time to mean something: it states its forward pass's work."""
        return self.flops > 0 or self.bytes > 0

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"

    def inputs(self, dtype: torch.dtype, device: str = "cpu") -> Tensors:
        """The case's tensors: the same numbers on every call, rounded to `dtype`."""
        generator = torch.Generator().manual_seed(sum(map(ord, str(self))))
        tensors = self.make(Draw(generator), **self.sizes)
        if self.edit is not None:
            self.edit(tensors)
        return {name: (each.to(dtype) if each.is_floating_point() else each).to(device) for name, each in tensors.items()}

    def prepared(self, tensors: Tensors, backend: Backend, *, gradients: bool = True) -> Callable[[], Tensors]:
        """What runs the op on copies of the tensors: its outputs, and "d name" for the gradient of each floating-point input.

        The gradients are those of a fixed linear functional of the outputs. An op that changes its arguments changes the copies.
        """
        gradients = gradients and self.differentiable
        leaves = {name: each.detach().clone() for name, each in tensors.items()}
        wanted = {name: leaf.requires_grad_() for name, leaf in leaves.items() if gradients and leaf.is_floating_point()}
        weights: list[Tensor] = []

        def run() -> Tensors:
            outputs = self.call(leaves, **self.options, backend=backend)
            if not wanted:
                return outputs
            if not weights:
                draw = Draw(torch.Generator().manual_seed(0))
                weights.extend(draw.normal(*each.shape).to(each) for each in outputs.values())
            found = torch.autograd.grad(list(outputs.values()), list(wanted.values()), weights, allow_unused=True)
            results = {name: each.detach() for name, each in outputs.items()}
            for (name, leaf), each in zip(wanted.items(), found, strict=True):
                results[f"d {name}"] = torch.zeros_like(leaf) if each is None else each
            return results

        return run

    def run(self, tensors: Tensors, backend: Backend, *, gradients: bool = True) -> Tensors:
        """`prepared`, run once."""
        return self.prepared(tensors, backend, gradients=gradients)()


@dataclass(frozen=True, slots=True)
class Judgement:
    """One tensor of one case: its error and the error allowed, both relative to the largest number of the exact tensor."""

    tensor: str
    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        return self.error <= self.allowed  # False for NaN


def judge(case: Case, backend: Backend, *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Iterator[Judgement]:
    """The error of a backend on every output and gradient of a case, beside what is allowed; all of it made on one device."""
    rounded = case.inputs(dtype, device)
    exact = case.run({name: each.double() if each.is_floating_point() else each for name, each in rounded.items()}, "reference")
    plain = case.run(rounded, "reference")
    yield from compared(exact, plain, case.run(rounded, backend), dtype)


def compared(exact: Tensors, plain: Tensors, found: Tensors, dtype: torch.dtype) -> Iterator[Judgement]:
    """The rule, tensor by tensor: what was found, and what plain torch makes at `dtype`, against the exact numbers."""
    for name, wanted in exact.items():
        unit = float(wanted.abs().amax()) if wanted.numel() else 0.0
        plain_error, error = (_distance(each[name], wanted) / (unit or 1.0) for each in (plain, found))
        yield Judgement(name, error, SLACK * plain_error + FLOOR_ROUNDINGS * torch.finfo(dtype).eps)


def _distance(one: Tensor, exact: Tensor) -> float:
    return float((one.double() - exact).abs().amax()) if exact.numel() else 0.0


@dataclass(frozen=True, slots=True)
class Draw:
    """Random tensors in float64 from one generator."""

    generator: torch.Generator

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator, dtype=torch.float64)

    def unit(self, *shape: int) -> Tensor:
        return torch.nn.functional.normalize(self.normal(*shape), dim=-1)

    def integers(self, below: int, *shape: int) -> Tensor:
        return torch.randint(below, shape, generator=self.generator)
