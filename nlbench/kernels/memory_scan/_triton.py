"""The chunked scan on a GPU: launches, saved states, and shapes of the kernels in `_triton_forward` and `_triton_backward`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.gpu_tiles import (
    EXACT,
    GIVEN,
    MINUS_PREDICTION,
    NO_READ,
    SELF_GENERATED,
    STALE,
    empty,
    flat,
    padded,
    within_warps,
)
from nlbench.kernels.memory_scan._triton_backward import gradients, mask_gradients, read_backward, reverse
from nlbench.kernels.memory_scan._triton_forward import prepare, read, states

RESIDUALS: Final = {"given": GIVEN, "minus_prediction": MINUS_PREDICTION, "self_generated": SELF_GENERATED}
READS: Final = {"stale": STALE, "exact": EXACT}
TILE: Final = {True: 64, False: 32}
"""Most tokens of a tile, in bfloat16 or not: registers and 227 KB of shared memory hold every kernel at d_k = 128."""
ROWS: Final = 32
WIDE: Final = 64
"""Rows of the memory a program holds: few where one tile waits for the one before, more where tiles are free."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one scan is cut up: `tiles` of up to C tokens, `per_chunk` of them a chunk, BV rows of the memory at a time."""

    programs: int
    tokens: int
    chunk: int
    C: int
    K: int
    V: int
    residual: Any
    read: Any
    momentum: bool
    low: bool

    @property
    def per_chunk(self) -> int:
        return -(-self.chunk // self.C)

    @property
    def tiles(self) -> int:
        return -(-self.tokens // self.chunk) * self.per_chunk

    def slices(self, rows: int) -> int:
        return -(-self.V // min(rows, padded(self.V)))

    def arguments(
        self, *, rows: int = ROWS, stages: int = 2, residual: bool = True, read: bool = False, frozen: bool = False
    ) -> dict[str, Any]:
        """The sizes of every kernel, BV of them `rows`, and those of the options that one takes."""
        sizes = {
            "tokens": self.tokens,
            "chunk": self.chunk,
            "per_chunk": self.per_chunk,
            "tiles": self.tiles,
            "K": self.K,
            "V": self.V,
        }
        sizes |= {"C": self.C, "BK": padded(self.K), "BV": min(rows, padded(self.V)), "MOMENTUM": self.momentum, "LOW": self.low}
        sizes |= {"RESIDUAL": self.residual} if residual else {}
        sizes |= {"READ": self.read} if read else {}
        sizes |= {"FROZEN": self.per_chunk > 1} if frozen else {}
        return sizes | {"num_warps": 8 if padded(self.K) > (64 if self.low else 32) else 4, "num_stages": stages}


def planned(keys: Tensor, targets: Tensor, chunk: int, residual: str, read: str | None, momentum: bool) -> Plan:
    """Tiles of up to `TILE` tokens; where no result depends on the chunk, chunks of a tile each."""
    programs, tokens = keys.shape[0] * keys.shape[1], keys.shape[2]
    low = keys.dtype == torch.bfloat16
    if residual == "given" and read != "stale":
        chunk = TILE[low]
    chunk = max(1, min(chunk, tokens))
    option = NO_READ if read is None else READS[read]
    sizes = programs, tokens, chunk, min(TILE[low], padded(chunk)), keys.shape[3], targets.shape[3]
    return Plan(*sizes, RESIDUALS[residual], option, momentum, low)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, memory, keys, targets, probes, rate, retain, queries, momentum, velocity, plan):  # type: ignore[no-untyped-def]
        k, t, eta, alpha = (flat(each, 2, each) for each in (keys, targets, rate, retain))
        n, q, mu = flat(probes, 2, k), flat(queries, 2, k), flat(momentum, 2, eta)
        start = flat(memory.mT, 2, k)
        speed = flat(None if velocity is None else velocity.mT, 2, start)
        shape = (plan.programs, plan.tiles, plan.K, plan.V)
        memories, velocities = empty(shape, k), empty(shape, k) if plan.momentum else k
        final, last = empty(start.shape, k), empty(start.shape, k) if plan.momentum else k
        outputs = None if queries is None else empty(t.shape, k)
        with within_warps():
            u, linear = _prepared(plan, k, t, n, eta, alpha, mu)
            w, x, y, _, speed_before, speed_after, _, afters, totals = linear
            states[(plan.programs * plan.slices(ROWS),)](
                start, speed, k, t, n, eta, alpha, mu, u, w, x, y, speed_after, afters, totals, memories, velocities, final, last,
                **plan.arguments(stages=3, frozen=True),
            )  # fmt: skip
            if outputs is not None and plan.tokens:
                read[(plan.programs * plan.tiles * plan.slices(WIDE),)](
                    k, t, n, q, eta, alpha, mu, u, speed_before, memories, velocities, outputs,
                    **plan.arguments(rows=WIDE, read=True),
                )  # fmt: skip
        ctx.save_for_backward(k, t, n, q, eta, alpha, mu, memories, velocities, u, *linear)
        ctx.plan = plan
        ctx.shapes = [None if each is None else each.shape for each in (keys, targets, probes, rate, retain, queries, momentum)]
        return (
            final.mT.reshape(memory.shape),
            None if outputs is None else outputs.view(targets.shape),
            None if velocity is None else last.mT.reshape(memory.shape),
        )

    @staticmethod
    @once_differentiable
    def backward(ctx, d_memory, d_outputs, d_velocity):  # type: ignore[no-untyped-def]
        plan: Plan = ctx.plan
        k, t, n, q, eta, alpha, mu, memories, velocities, e, *linear = ctx.saved_tensors
        w, x, y, solved, speed_before, speed_after, befores, afters, totals = linear
        d_end, d_last = flat(d_memory.mT, 2, k), flat(None if d_velocity is None else d_velocity.mT, 2, k)
        d_o = flat(d_outputs, 2, t)
        exact = plan.read == EXACT
        errors, writes = empty(t.shape, k), empty(t.shape, k) if exact and plan.momentum else t
        ends, velocity_ends = empty(memories.shape, k), empty(memories.shape, k) if plan.momentum else k
        d_first, d_first_velocity = empty(d_end.shape, k), empty(d_end.shape, k) if plan.momentum else k
        inputs = (k, t, n, eta, alpha, q, mu)
        found = [None if shape is None else empty(each.shape, k) for each, shape in zip(inputs, ctx.shapes, strict=True)]
        d_k, d_t, d_n, d_eta, d_alpha, d_q, d_mu = (each if each is not None else k for each in found)
        d_tokens = empty((plan.programs, 6, plan.tokens), k, torch.float32)
        d_tiles = empty((plan.programs, plan.tiles, 3), k, torch.float32)
        with within_warps():
            if exact:
                read_backward[(plan.programs * plan.tiles * plan.slices(WIDE),)](
                    k, q, alpha, mu, d_o, errors, writes, **plan.arguments(rows=WIDE, residual=False)
                )
            reverse[(plan.programs * plan.slices(ROWS),)](
                d_end, d_last, k, n, q, eta, alpha, mu, w, x, y, speed_before, speed_after, befores, afters, totals, d_o, errors,
                writes, ends, velocity_ends, d_first, d_first_velocity, **plan.arguments(stages=3, read=True, frozen=True),
            )  # fmt: skip
            gradients[(plan.programs * plan.tiles,)](
                k, t, n, q, eta, alpha, mu, solved, e, errors, memories, velocities, ends, velocity_ends, d_o, befores, afters,
                speed_before, speed_after, d_k, d_t, d_n, d_q, d_tokens, d_tiles, **plan.arguments(read=True),
            )  # fmt: skip
            mask_gradients[(plan.programs * plan.tiles,)](
                k, t, n, q, eta, alpha, mu, solved, e, errors, memories, d_o, d_tokens, d_tiles, d_k, d_q, d_eta, d_alpha, d_mu,
                **plan.arguments(read=True),
            )  # fmt: skip
        shaped = [None if shape is None else each.view(shape) for each, shape in zip(found, ctx.shapes, strict=True)]
        d_m, d_s = (each.mT.reshape(d_memory.shape) for each in (d_first, d_first_velocity if plan.momentum else d_first))
        return (d_m, *shaped, d_s if plan.momentum else None, None)


def _prepared(plan: Plan, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """U of all tiles, and what else is needed: W, X, Y, T, momentum's two numbers a token, γ̄, s and γ_C."""
    k, t, eta = inputs[0], inputs[1], inputs[3]
    u, w = empty(t.shape, k), empty(k.shape, k)
    x = empty(k.shape, k) if plan.per_chunk > 1 else k
    y = empty(k.shape, k) if plan.momentum else k
    before, after = (empty(eta.shape, k, torch.float32) if plan.momentum else eta for _ in range(2))
    befores, afters = (empty(eta.shape, k, torch.float32) for _ in range(2))
    totals = empty((plan.programs, plan.tiles), k, torch.float32)
    solved = empty((plan.programs, plan.tiles, plan.C, plan.C), k)
    linear = (w, x, y, solved, before, after, befores, afters, totals)
    prepare[(plan.programs * plan.tiles,)](*inputs, u, *linear, **plan.arguments(frozen=True))
    return u, linear


def scan(
    memory: Tensor,
    keys: Tensor,
    targets: Tensor,
    rate: Tensor,
    retain: Tensor,
    chunk: int,
    residual: str,
    values: Tensor | None,
    queries: Tensor | None,
    read: str,
    momentum: Tensor | None,
    velocity: Tensor | None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Memory, outputs and velocity after all tokens; arguments as in `memory_scan`."""
    probes = None if values is None else values - keys
    plan = planned(keys, targets, chunk, residual, None if queries is None else read, momentum is not None)
    return _Scan.apply(memory, keys, targets, probes, rate, retain, queries, momentum, velocity, plan)
