"""The chunked scan on a GPU: launches, saved states, and shapes of the kernels in `_triton_forward` and `_triton_backward`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.gpu_tiles import EXACT, GIVEN, MINUS_PREDICTION, NO_READ, SELF_GENERATED, STALE, empty, flat, padded
from nlbench.kernels.memory_scan._triton_backward import gradients, read_backward, reverse
from nlbench.kernels.memory_scan._triton_forward import prepare, read, states

RESIDUALS: Final = {"given": GIVEN, "minus_prediction": MINUS_PREDICTION, "self_generated": SELF_GENERATED}
READS: Final = {"stale": STALE, "exact": EXACT}
TILE: Final = {True: 64, False: 32}
"""Most tokens of a tile, in bfloat16 or not: registers and 227 KB of shared memory hold every kernel at d_k = 128."""
ROWS: Final = 32


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

    @property
    def rows(self) -> int:
        return min(ROWS, padded(self.V))

    @property
    def slices(self) -> int:
        return -(-self.V // self.rows)

    def arguments(self, *, residual: bool = True, read: bool = False, frozen: bool = False) -> dict[str, Any]:
        """The sizes of every kernel, and those of the options that one takes."""
        sizes = {
            "tokens": self.tokens,
            "chunk": self.chunk,
            "per_chunk": self.per_chunk,
            "tiles": self.tiles,
            "K": self.K,
            "V": self.V,
        }
        sizes |= {"C": self.C, "BK": padded(self.K), "BV": self.rows, "MOMENTUM": self.momentum, "LOW": self.low}
        sizes |= {"RESIDUAL": self.residual} if residual else {}
        sizes |= {"READ": self.read} if read else {}
        sizes |= {"FROZEN": self.per_chunk > 1} if frozen else {}
        return sizes | {"num_warps": 8 if self.K > 32 else 4, "num_stages": 2}


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
        u, linear = _prepared(plan, k, t, n, eta, alpha, mu)
        shape = (plan.programs, plan.tiles, plan.K, plan.V)
        memories, velocities = empty(shape, k), empty(shape, k) if plan.momentum else k
        final, last = empty(start.shape, k), empty(start.shape, k) if plan.momentum else k
        states[(plan.programs * plan.slices,)](
            start,
            speed,
            k,
            t,
            n,
            eta,
            alpha,
            mu,
            u,
            *linear[:3],
            linear[4],
            memories,
            velocities,
            final,
            last,
            **plan.arguments(frozen=True),
        )
        outputs = None
        if queries is not None and plan.tokens:
            outputs = empty(t.shape, k)
            read[(plan.programs * plan.tiles * plan.slices,)](
                k, t, n, q, eta, alpha, mu, u, linear[3], memories, velocities, outputs, **plan.arguments(read=True)
            )
        elif queries is not None:
            outputs = empty(t.shape, k)
        ctx.save_for_backward(k, t, n, q, eta, alpha, mu, memories, velocities)
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
        k, t, n, q, eta, alpha, mu, memories, velocities = ctx.saved_tensors
        d_end, d_last = flat(d_memory.mT, 2, k), flat(None if d_velocity is None else d_velocity.mT, 2, k)
        d_o = flat(d_outputs, 2, t)
        _, linear = _prepared(plan, k, t, n, eta, alpha, mu)
        exact = plan.read == EXACT
        errors, writes = empty(t.shape, k) if exact else t, empty(t.shape, k) if exact and plan.momentum else t
        if exact:
            read_backward[(plan.programs * plan.tiles * plan.slices,)](
                k, q, alpha, mu, d_o, errors, writes, **plan.arguments(residual=False)
            )
        ends, velocity_ends = empty(memories.shape, k), empty(memories.shape, k) if plan.momentum else k
        d_first, d_first_velocity = empty(d_end.shape, k), empty(d_end.shape, k) if plan.momentum else k
        reverse[(plan.programs * plan.slices,)](
            d_end, d_last, k, n, q, eta, alpha, mu, *linear, d_o, errors, writes, ends, velocity_ends, d_first, d_first_velocity,
            **plan.arguments(read=True, frozen=True),
        )  # fmt: skip
        inputs = (k, t, n, eta, alpha, q, mu)
        found = [None if shape is None else empty(each.shape, k) for each, shape in zip(inputs, ctx.shapes, strict=True)]
        d_k, d_t, d_n, d_eta, d_alpha, d_q, d_mu = (each if each is not None else k for each in found)
        gradients[(plan.programs * plan.tiles,)](
            k, t, n, q, eta, alpha, mu, memories, velocities, ends, velocity_ends, d_o, d_k, d_t, d_n, d_q, d_eta, d_alpha, d_mu,
            **plan.arguments(read=True),
        )  # fmt: skip
        shaped = [None if shape is None else each.view(shape) for each, shape in zip(found, ctx.shapes, strict=True)]
        d_m, d_s = (each.mT.reshape(d_memory.shape) for each in (d_first, d_first_velocity if plan.momentum else d_first))
        return (d_m, *shaped, d_s if plan.momentum else None, None)


def _prepared(plan: Plan, *inputs: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """U of all tiles, and what else their errors are linear in: W, X, Y and momentum's two numbers a token."""
    k, t, eta = inputs[0], inputs[1], inputs[3]
    u, w = empty(t.shape, k), empty(k.shape, k)
    x = empty(k.shape, k) if plan.per_chunk > 1 else k
    y = empty(k.shape, k) if plan.momentum else k
    before, after = (empty(eta.shape, k, torch.float32) if plan.momentum else eta for _ in range(2))
    prepare[(plan.programs * plan.tiles,)](*inputs, u, w, x, y, before, after, **plan.arguments(frozen=True))
    return u, (w, x, y, before, after)


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
