"""The chunked scan on a GPU: launches, saved states, and shapes of the kernels in `_triton_forward` and `_triton_backward`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.kernels.gpu_tiles import EXACT, GIVEN, MINUS_PREDICTION, NO_READ, SELF_GENERATED, STALE, Launch, empty, padded
from nlbench.kernels.memory_scan._triton_backward import gradients, mask_gradients, reverse
from nlbench.kernels.memory_scan._triton_forward import carry, read, solve, states
from nlbench.kernels.memory_scan._triton_reads import query_gradients, read_backward

RESIDUALS: Final = {"given": GIVEN.value, "minus_prediction": MINUS_PREDICTION.value, "self_generated": SELF_GENERATED.value}
READS: Final = {None: NO_READ.value, "stale": STALE.value, "exact": EXACT.value}
TILE: Final = {True: 64, False: 32}
"""Most tokens of a tile, in bfloat16 or not: registers and 227 KB of shared memory hold every kernel at d_k = 128."""
ROWS: Final = 32
WIDE: Final = 64
"""Rows of the memory a program holds: few where one tile waits for the one before, more where tiles are free."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How one scan is cut up: `tiles` of up to C tokens, `per_chunk` of them a chunk."""

    programs: int
    tokens: int
    chunk: int
    C: int
    K: int
    V: int
    residual: int
    read: int
    momentum: bool
    low: bool

    @cached_property
    def per_chunk(self) -> int:
        return -(-self.chunk // self.C)

    @cached_property
    def tiles(self) -> int:
        return -(-self.tokens // self.chunk) * self.per_chunk

    @cached_property
    def sizes(self) -> dict[str, Any]:
        """What kernels call the sizes and options, but for BV."""
        lengths = {"tokens": self.tokens, "chunk": self.chunk, "per_chunk": self.per_chunk, "tiles": self.tiles}
        blocks = {"K": self.K, "V": self.V, "C": self.C, "BK": padded(self.K)}
        options = {"RESIDUAL": self.residual, "READ": self.read, "FROZEN": self.per_chunk > 1, "MOMENTUM": self.momentum}
        return lengths | blocks | options | {"LOW": self.low}

    def slices(self, rows: int) -> int:
        return -(-self.V // min(rows, padded(self.V)))

    @cached_property
    def launches(self) -> dict[Any, Launch]:
        """The kernels launched so far."""
        return {}

    def launch(self, kernel: Any, programs: int, *tensors: Tensor, rows: int = ROWS, warps: int = 4, stages: int = 2) -> None:
        """Run one kernel, on memories cut into slices of `rows`; long keys take 8 warps in place of several."""
        if kernel.fn not in self.launches:
            sizes = self.sizes | {"BV": min(rows, padded(self.V))}
            long = sizes["BK"] > (64 if self.low else 32)
            self.launches[kernel.fn] = Launch(kernel, sizes, 8 if long and warps > 1 else warps, stages)
        self.launches[kernel.fn](programs, *tensors)


@lru_cache(maxsize=256)
def planned(
    programs: int, tokens: int, K: int, V: int, low: bool, chunk: int, residual: str, read: str | None, momentum: bool
) -> Plan:
    """Tiles of up to `TILE` tokens; where no result depends on the chunk, chunks of a tile each."""
    if residual == "given" and read != "stale":
        chunk = TILE[low]
    chunk = max(1, min(chunk, tokens))
    return Plan(programs, tokens, chunk, min(TILE[low], padded(chunk)), K, V, RESIDUALS[residual], READS[read], momentum, low)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, memory, keys, targets, probes, rate, retain, queries, momentum, velocity, plan):  # type: ignore[no-untyped-def]
        k, t, eta, alpha = (each.contiguous() for each in (keys, targets, rate, retain))
        n, q, mu, speed = (k if each is None else each.contiguous() for each in (probes, queries, momentum, velocity))
        tiles, every, C = plan.programs * plan.tiles, plan.programs * plan.tokens, plan.C
        more = plan.momentum
        befores, afters, totals, c_before, written = cut(k, every, every, tiles, more * every, more * every, dtype=torch.float32)
        solved, crossed = cut(k, tiles * C * C, more * tiles * C * C)
        plan.launch(solve, tiles, k, eta, alpha, solved, befores, afters, totals, warps=1)
        sizes = every * plan.V, tiles * plan.K * plan.V
        e, memories, velocities = cut(k, *sizes, more * sizes[1])
        if plan.momentum:
            plan.launch(carry, tiles, k, alpha, mu, crossed, c_before, written)
        final, last = empty(memory.shape, k), empty(memory.shape, k) if plan.momentum else k
        plan.launch(
            states, plan.programs * plan.slices(ROWS), memory.contiguous(), speed, k, t, n, eta, mu, solved, befores, afters,
            totals, crossed, c_before, written, e, memories, velocities, final, last, stages=3,
        )  # fmt: skip
        outputs = None if queries is None else empty(targets.shape, k)
        if outputs is not None and plan.tokens:
            plan.launch(
                read, tiles * plan.slices(WIDE), k, t, n, q, eta, alpha, mu, e, c_before, memories, velocities, outputs,
                rows=WIDE, warps=2,
            )  # fmt: skip
        linear = (solved, befores, afters, totals, crossed, c_before, written)
        ctx.save_for_backward(k, t, n, q, eta, alpha, mu, e, memories, velocities, *linear)
        ctx.plan = plan
        ctx.probed = probes is not None
        return final, outputs, None if velocity is None else last

    @staticmethod
    @once_differentiable
    def backward(ctx, d_memory, d_outputs, d_velocity):  # type: ignore[no-untyped-def]
        plan: Plan = ctx.plan
        k, t, n, q, eta, alpha, mu, e, memories, velocities, *linear = ctx.saved_tensors
        solved, befores, afters, totals, crossed, c_before, written = linear
        d_end, d_o, d_last = (k if each is None else each.contiguous() for each in (d_memory, d_outputs, d_velocity))
        tiles, every = plan.programs * plan.tiles, plan.programs * plan.tokens
        more, exact = plan.momentum, plan.read == READS["exact"]
        sizes = every * plan.V, tiles * plan.K * plan.V
        errors, writes, ends, velocity_ends = cut(k, sizes[0], more * exact * sizes[0], sizes[1], more * sizes[1])
        if plan.read:
            plan.launch(
                read_backward, tiles * plan.slices(WIDE), k, q, alpha, mu, c_before, d_o, errors, writes, ends,
                velocity_ends, rows=WIDE,
            )  # fmt: skip
        d_m, d_s = empty(d_memory.shape, k), empty(d_memory.shape, k) if more else None
        plan.launch(
            reverse, plan.programs * plan.slices(ROWS), d_end, d_last, k, n, eta, mu, solved, befores, afters, totals, crossed,
            c_before, written, errors, writes, ends, velocity_ends, d_m, d_m if d_s is None else d_s, stages=3,
        )  # fmt: skip
        d_k, d_q = empty(k.shape, k), empty(k.shape, k) if plan.read else None
        d_n, d_mu = empty(k.shape, k) if ctx.probed else None, empty(eta.shape, k) if more else None
        d_tokens, d_tiles = cut(k, 8 * every, 3 * tiles, dtype=torch.float32)
        if d_q is not None:
            plan.launch(
                query_gradients, tiles, k, t, n, q, eta, alpha, mu, e, c_before, memories, velocities, d_o, d_k, d_q, d_tokens,
            )  # fmt: skip
        d_t, d_eta, d_alpha = empty(t.shape, k), empty(eta.shape, eta), empty(alpha.shape, alpha)
        plan.launch(
            gradients, tiles, k, t, n, eta, e, errors, memories, velocities, ends, velocity_ends, writes, befores, afters,
            crossed, c_before, written, mu, d_k, d_t, k if d_n is None else d_n, d_tokens, d_tiles,
            rows=16 if more else WIDE, stages=1,
        )  # fmt: skip
        plan.launch(
            mask_gradients, tiles, k, t, n, eta, alpha, mu, e, errors, memories, d_tokens, d_tiles, d_k, d_eta, d_alpha,
            k if d_mu is None else d_mu, warps=2,
        )  # fmt: skip
        return d_m, d_k, d_t, d_n, d_eta, d_alpha, d_q, d_mu, d_s, None


def cut(like: Tensor, *sizes: int, dtype: torch.dtype | None = None) -> tuple[Tensor, ...]:
    """Flat tensors of at least so many numbers for kernels to fill, parts of one, each aligned to 128 bytes."""
    sizes = tuple(-(-size // 64) * 64 for size in sizes)
    return empty((sum(sizes),), like, dtype).split_with_sizes(sizes)


def scan(
    memory: Tensor,
    keys: Tensor,
    targets: Tensor,
    rate: Tensor,
    retain: Tensor,
    chunk: int,
    residual: str,
    probes: Tensor | None,
    queries: Tensor | None,
    read: str,
    momentum: Tensor | None = None,
    velocity: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Memory, outputs and velocity after all tokens; arguments as in `memory_scan`, but for probes: its values less the keys.

    Rates and retentions may be float32 where keys are bfloat16.
    """
    S, H, L, K = keys.shape
    wanted = residual, None if queries is None else read, momentum is not None
    plan = planned(S * H, L, K, targets.shape[3], keys.dtype == torch.bfloat16, chunk, *wanted)
    return _Scan.apply(memory, keys, targets, probes, rate, retain, queries, momentum, velocity, plan)
