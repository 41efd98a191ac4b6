"""The self-referential block on a GPU: keys, values and gates by the kernels in the files beside this one, then a memory scan."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.errors import BackendError
from nlbench.kernels.gpu_tiles import empty, flat, padded, within_warps
from nlbench.kernels.memory_scan._triton import scan as scan_memory
from nlbench.kernels.self_referential_scan import LONGEST_SEGMENT, Memories
from nlbench.kernels.self_referential_scan._triton_backward import backward
from nlbench.kernels.self_referential_scan._triton_forward import forward
from nlbench.kernels.self_referential_scan._triton_segments import inputs_backward, prepare
from nlbench.kernels.self_referential_scan.memory import learn_and_read

PARALLEL: Final = ("outer_chunk", "D", "BD", "C", "LOW", "num_warps", "num_stages", "maxnreg")
"""What kernels that take segments one by one need of the sizes."""


STAGED: Final = 165 * 1024
"""Bytes of shared memory that the tiles of two segments of the chain back take at most, in bfloat16 and up to 64 wide."""


def launch(kernel: Any, programs: int, *arguments: object, **sizes: object) -> None:
    """Run so many programs on the current stream."""
    with within_warps():
        kernel[(programs,)](*arguments, **sizes)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs, squares, gates, biases, homes, home_gates, limits, sizes):  # type: ignore[no-untyped-def]
        x, w, rows, bias = (flat(each, 2, each) for each in (inputs, squares, gates, biases))
        h, h_rows = flat(homes, 2, w), flat(home_gates, 2, rows)
        (programs, tokens, d), C = x.shape, sizes["C"]
        segments = -(-tokens // sizes["outer_chunk"])
        keys, probes = empty(x.shape, x), empty(x.shape, x)
        shares, scales = (empty((programs, 2, tokens), x, torch.float32) for _ in range(2))
        solved = empty((programs, segments, C, C), x, torch.float32)
        errors = empty((programs, segments, 2, C, d), x), empty((programs, segments, C, 2), x)
        states = empty((programs, segments, 2, d, d), x), empty((programs, segments, d, 2), x)
        final, final_rows = empty(w.shape, x), empty(rows.shape, x)
        made, ends = (keys, probes, shares, scales), (final, final_rows)
        launch(forward, programs, x, w, rows, h, h_rows, bias, *made, solved, *errors, *states, *ends, *limits, tokens, **sizes)
        ctx.save_for_backward(x, *made, *errors, *states, h, h_rows, solved)
        ctx.options, ctx.shapes = (limits, sizes), (inputs.shape, squares.shape, gates.shape, biases.shape)
        return tuple(each.unflatten(0, inputs.shape[:2]) for each in (keys, probes, shares, final, final_rows))

    @staticmethod
    @once_differentiable
    def backward(ctx, *given):  # type: ignore[no-untyped-def]
        x, *made, h, h_rows, solved = ctx.saved_tensors
        keys, probes, shares, *_, square_states, gate_states = made
        limits, sizes = ctx.options
        d_keys, d_probes, d_shares, d_final, d_rows = (flat(each, 2, each) for each in given)
        (programs, tokens, d), segments = x.shape, solved.shape[1]
        masks = empty(solved.shape, x), empty(solved.shape, x)
        reaches, carries = empty(x.shape, x), empty((programs, segments, d, d), x)
        totals = empty((programs, segments), x, torch.float32)
        befores, afters = (empty((programs, tokens), x, torch.float32) for _ in range(2))
        linear = *masks, reaches, carries, befores, afters, totals
        parallel = {name: sizes[name] for name in PARALLEL}
        launch(prepare, programs * segments, keys, probes, shares, solved, *linear, *limits, tokens, **parallel)
        d_raw, d_raw_gates = empty((programs, tokens, 2 * d), x), empty((programs, tokens, 2), x)
        rights = (empty(each.shape, x) for each in (d_raw, d_raw_gates))
        rights, gate_rights = rights if sizes["HOME"] else (d_raw, d_raw_gates)
        d_w, d_gates, d_x = empty(d_final.shape, x), empty(d_rows.shape, x), empty(x.shape, x)
        launch(
            backward, programs, x, *made, h, h_rows, *linear, d_keys, d_probes, d_shares, d_final, d_rows, d_raw, d_raw_gates,
            rights, gate_rights, d_w, d_gates, *limits, tokens, **sizes | {"num_stages": stages(x, sizes["LOW"])},
        )  # fmt: skip
        others = square_states, gate_states, h, h_rows, d_x
        launch(inputs_backward, programs * segments, d_raw, d_raw_gates, *others, tokens, **parallel, HOME=sizes["HOME"])
        of_inputs, of_squares, of_gates, of_biases = ctx.shapes
        d_biases = d_raw_gates.sum(1, dtype=torch.float32).to(x.dtype)
        found = d_x.view(of_inputs), d_w.view(of_squares), d_gates.view(of_gates), d_biases.view(of_biases)
        if not sizes["HOME"]:
            return *found, None, None, None, None
        base = torch.baddbmm(probes.mT @ rights, x.mT, d_raw).unflatten(2, (2, d)).transpose(1, 2)
        base_gates = torch.baddbmm(probes.mT @ gate_rights, x.mT, d_raw_gates)
        homes = (d_final - d_w + base).view(of_squares), (d_rows - d_gates + base_gates).view(of_gates)
        return *found, *homes, None, None


@lru_cache
def shared_bytes(device: torch.device) -> int:
    """What one program may take of a multiprocessor's shared memory; 0 where there is no GPU."""
    return torch.cuda.get_device_properties(device).shared_memory_per_block_optin if device.type == "cuda" else 0


def stages(tokens: Tensor, low: bool) -> int:
    """2 where the chain back has room to load a segment's tiles while it works on the one after, otherwise 1."""
    return 2 if low and tokens.shape[-1] <= 64 and shared_bytes(tokens.device) >= STAGED else 1


def stacked(memories: Memories) -> tuple[Tensor, Tensor]:
    """The memories of keys and values transposed (S, H, 2, d, d), and the gates as columns (S, H, d, 2)."""
    return torch.stack([memories.keys.mT, memories.values.mT], 2), torch.stack([memories.rate, memories.retain], -1)


def scan(
    inputs: Tensor,
    queries: Tensor,
    memories: Memories,
    rate_bias: Tensor,
    retain_bias: Tensor,
    chunk: int,
    outer_chunk: int,
    rate_max: float,
    outer_rate_max: float,
    retain_min: float,
    objective: str,
    read: str,
    normalize_values: bool,
    initial: Memories | None,
    target_clip: float | None,
    truncation: int | None,
) -> tuple[Memories, Tensor]:
    """Memories and outputs after all tokens; arguments as in `self_referential_scan`.

    Raises `BackendError` for segments longer than one program solves for, for clipped targets and for truncated gradients.
    """
    tokens, d = inputs.shape[2:]
    if target_clip is not None or truncation is not None:
        raise BackendError(
            "backend 'triton' cannot run self_referential_scan with target_clip or truncation.", "Use --backend reference."
        )
    outer_chunk = max(1, min(outer_chunk, tokens))
    if outer_chunk > LONGEST_SEGMENT:
        raise BackendError(
            f"backend 'triton' cannot run self_referential_scan with outer_chunk {outer_chunk}: at most {LONGEST_SEGMENT}.",
            "Use --backend reference, or a smaller outer_chunk.",
        )
    sizes: dict[str, Any] = {"outer_chunk": outer_chunk, "D": d, "BD": padded(d), "C": padded(outer_chunk)}
    sizes |= {"L2": objective == "l2", "NORMALIZE": normalize_values, "HOME": initial is not None}
    sizes |= {"LOW": inputs.dtype == torch.bfloat16, "num_stages": 1, "maxnreg": 255}
    sizes["num_warps"] = 8 if d > 32 and not sizes["LOW"] else 4
    homes = (None, None) if initial is None else stacked(initial)
    biases, limits = torch.stack([rate_bias, retain_bias], -1), (outer_rate_max, retain_min)
    keys, probes, shares, squares, gates = _Project.apply(inputs, *stacked(memories), biases, *homes, limits, sizes)
    rate, retain = rate_max * shares[:, :, 0], retain_min + (1 - retain_min) * shares[:, :, 1]
    memory, outputs = learn_and_read(scan_memory, memories.memory, initial, queries, keys, probes, rate, retain, chunk, read)
    return Memories(squares[:, :, 0].mT, squares[:, :, 1].mT, gates[..., 0], gates[..., 1], memory), outputs
