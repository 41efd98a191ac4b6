"""The exact ridge memory on a GPU: all chunks at once but for two sums over them; launches of `_triton_chunks`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.errors import BackendError
from nlbench.kernels.gpu_tiles import Launch, empty, padded
from nlbench.kernels.ridge_scan import WIDEST
from nlbench.kernels.ridge_scan._triton_chunks import (
    backward_sums,
    carry,
    correct,
    prepare,
    read,
    read_backward,
    read_gradients,
    solve_gradients,
    sums,
)
from nlbench.kernels.ridge_scan._triton_conjugate import read_backward_by_steps, read_by_steps
from nlbench.kernels.ridge_scan.retention import retention_gradients

WARPS: Final = 4
"""Of a program: in bfloat16, for compute capability 9.0, no kernel then keeps more than 500 bytes a thread out of registers."""
REGISTERS: Final = 255
"""Of a thread in float32: left to itself, NVIDIA's assembler takes 32 and keeps up to 6 kB a thread out of them."""
ROWS: Final = 32
"""Tokens of a program of conjugate gradients: its tiles and those of the chunk then mostly stay in registers of `ROWS_WARPS`."""
ROWS_WARPS: Final = 2
SLICE: Final = 4
"""Rows of a state that one program carries along the chunks."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How one scan is cut up: `chunks` of `chunk` tokens for each of the `programs`, seeds times heads."""

    programs: int
    tokens: int
    chunk: int
    K: int
    V: int
    low: bool

    @cached_property
    def chunks(self) -> int:
        return -(-self.tokens // self.chunk)

    @cached_property
    def sizes(self) -> dict[str, Any]:
        """What kernels call the sizes and options."""
        lengths = {"tokens": self.tokens, "chunk": self.chunk, "chunks": self.chunks}
        widths = {"K": self.K, "V": self.V, "BK": padded(self.K), "BV": padded(self.V), "C": padded(self.chunk)}
        return lengths | widths | {"R": min(ROWS, padded(self.chunk)), "LOW": self.low}

    @cached_property
    def launches(self) -> dict[Any, Launch]:
        """The kernels launched so far."""
        return {}

    def launch(self, kernel: Any, *tensors: Tensor) -> None:
        """Run one kernel on every chunk."""
        self._launch(kernel, WARPS)(self.programs * self.chunks, *tensors)

    def stepped(self, kernel: Any, *tensors: Tensor) -> Tensor:
        """Run a kernel of conjugate gradients on some rows of every chunk, and return which chunks it did not solve."""
        parts = self.sizes["C"] // self.sizes["R"]
        missed = tensors[0].new_empty((self.programs * self.chunks, parts), dtype=torch.int32)
        self._launch(kernel, ROWS_WARPS)(missed.numel(), *tensors, missed)
        return missed.amax(1)

    def _launch(self, kernel: Any, warps: int) -> Launch:
        if kernel.fn not in self.launches:
            self.launches[kernel.fn] = Launch(kernel, self.sizes, warps, 1)
            if not self.low:
                self.launches[kernel.fn].options["maxnreg"] = REGISTERS
        return self.launches[kernel.fn]

    def carried(self, states: Tensor, first: Tensor, last: Tensor, totals: Tensor, *, reverse: bool) -> None:
        """Turn what each chunk adds to a state, (programs, chunks, rows, columns), into the state that each one meets.

        first, last   the state before all chunks, and after them
        """
        rows, columns = states.shape[-2:]
        slices = -(-rows // SLICE)
        more = {"ROWS": rows, "COLUMNS": columns, "BC": padded(columns), "SLICE": SLICE, "REVERSE": reverse}
        key = (carry.fn, *more.values())
        if key not in self.launches:
            self.launches[key] = Launch(carry, self.sizes | more, 1, 1)
        self.launches[key](self.programs * slices, states, first, last, totals)


@lru_cache(maxsize=256)
def planned(programs: int, tokens: int, chunk: int, K: int, V: int, low: bool) -> Plan:
    """Raises `BackendError` where a chunk does not fit a program."""
    if max(K, V, chunk) > WIDEST:
        raise BackendError(
            f"backend 'triton' cannot run ridge_scan: keys, targets and chunk are {K}, {V} and {chunk} long.",
            f"Use at most {WIDEST} of each, or --backend reference.",
        )
    return Plan(programs, tokens, min(chunk, tokens), K, V, low)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, gram, memory, keys, targets, rate, retain, queries, ridge, plan):  # type: ignore[no-untyped-def]
        k, v, eta, alpha, q = (each.contiguous() for each in (keys, targets, rate, retain, queries))
        n, K, V = plan.programs, plan.K, plan.V
        grams, memories = _states(k, n, plan.chunks, K, K), _states(k, n, plan.chunks, V, K)
        totals = empty((n, plan.chunks), k, torch.float32)
        plan.launch(sums, k, v, eta, alpha, grams, memories, totals)
        last_gram, last_memory = (empty(each.shape, each, torch.float32) for each in (gram, memory))
        plan.carried(grams, gram.float().contiguous(), last_gram, totals, reverse=False)
        plan.carried(memories, memory.float().contiguous(), last_memory, totals, reverse=False)
        solved, outputs = empty((n, plan.tokens, K), k, torch.float32), empty(v.shape, v)
        level = ridge.float().contiguous()
        due = _every_chunk(k, plan)
        if plan.low:
            due = plan.stepped(read_by_steps, k, v, eta, alpha, q, level, grams, memories, solved, outputs)
        precisions, *factors = _factors(plan, due, k, eta, alpha, level, grams, memories)
        plan.launch(read, k, v, eta, alpha, due, q, precisions, *factors, solved, outputs)
        plan.launch(correct, k, eta, alpha, due, q, level, grams, precisions, factors[0], solved)
        held = (grams, memories) if plan.low else factors
        ctx.save_for_backward(k, v, eta, alpha, level, totals, solved, last_gram, last_memory, *held)
        ctx.plan = plan
        return last_gram.to(keys.dtype), last_memory.to(keys.dtype), outputs

    @staticmethod
    @once_differentiable
    def backward(ctx, d_gram, d_memory, d_outputs):  # type: ignore[no-untyped-def]
        plan: Plan = ctx.plan
        k, v, eta, alpha, level, totals, solved, last_gram, last_memory, *held = ctx.saved_tensors
        d_o = d_outputs.contiguous()
        n, K, V = plan.programs, plan.K, plan.V
        d_q = empty(solved.shape, k, torch.float32)
        read_sums, solve_sums = _states(k, n, plan.chunks, V, K), _states(k, n, plan.chunks, K, K)
        faded = empty((n, plan.chunks), k, torch.float32)
        due = _every_chunk(k, plan)
        if plan.low:
            due = plan.stepped(read_backward_by_steps, k, v, eta, alpha, d_o, level, *held, d_q)
            _, *held = _factors(plan, due, k, eta, alpha, level, *held)
        plan.launch(read_backward, k, v, eta, alpha, due, d_o, *held, d_q)
        plan.launch(backward_sums, d_o, solved, d_q, read_sums, solve_sums, faded)
        d_end, d_last = d_memory.float().contiguous(), d_gram.float()
        first_memory, first_gram = (empty(each.shape, each, torch.float32) for each in (d_memory, d_gram))
        plan.carried(read_sums, d_end, first_memory, totals, reverse=True)
        plan.carried(solve_sums, -(d_last + d_last.mT).contiguous(), first_gram, totals, reverse=True)
        d_k, d_v, d_eta = empty(k.shape, k), empty(v.shape, v), empty(eta.shape, eta, torch.float32)
        along = empty(solved.shape, k, torch.float32)
        plan.launch(read_gradients, k, v, eta, alpha, d_o, solved, read_sums, d_v, along, d_eta)
        plan.launch(solve_gradients, k, eta, alpha, solved, d_q, solve_sums, along, d_k, d_eta)
        ends = (d_last * last_gram).sum((-2, -1)) + (d_end * last_memory).sum((-2, -1))
        gates = eta.float(), alpha.float(), level, d_eta, faded.view(*level.shape, plan.chunks), ends
        d_alpha, d_ridge = retention_gradients(*gates, plan.chunk)
        types = (d_gram, d_memory, k, v, eta, alpha, k, level)
        gradients = (-0.5 * first_gram, first_memory, d_k, d_v, d_eta, d_alpha, d_q.view(k.shape), d_ridge)
        return *(each.to(like.dtype) for each, like in zip(gradients, types, strict=True)), None


def _every_chunk(like: Tensor, plan: Plan) -> Tensor:
    """Which chunks are to be factorised: all of them, until conjugate gradients say which they have not solved."""
    return torch.ones(plan.programs * plan.chunks, dtype=torch.int32, device=like.device)


def _factors(
    plan: Plan, due: Tensor, k: Tensor, eta: Tensor, alpha: Tensor, level: Tensor, grams: Tensor, memories: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """P, F, L⁻¹ and W of the chunks that are due."""
    every, K, V, C = plan.programs * plan.chunks, plan.K, plan.V, padded(plan.chunk)
    factors, inverses = empty((every, C, K), k, torch.float32), empty((every, C, C), k, torch.float32)
    precisions = empty((every, padded(K), padded(K)), k, torch.float32)
    answers = _states(k, plan.programs, plan.chunks, V, K)
    plan.launch(prepare, k, eta, alpha, due, level, grams, memories, precisions, inverses, factors, answers)
    return precisions, factors, inverses, answers


def _states(like: Tensor, *shape: int) -> Tensor:
    return empty(shape, like, torch.float32)


def scan(
    gram: Tensor,
    memory: Tensor,
    keys: Tensor,
    targets: Tensor,
    rate: Tensor,
    retain: Tensor,
    queries: Tensor,
    ridge: Tensor,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gram, memory and outputs after all tokens; arguments as in `ridge_scan`."""
    S, H, L, K = keys.shape
    plan = planned(S * H, L, chunk, K, targets.shape[3], keys.dtype == torch.bfloat16)
    return _Scan.apply(gram, memory, keys, targets, rate, retain, queries, ridge, plan)
