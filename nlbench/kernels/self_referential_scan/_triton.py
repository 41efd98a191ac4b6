"""The self-referential block on a GPU: shapes, saved states and launches of the kernels in the files beside this one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from nlbench.errors import BackendError
from nlbench.kernels.gpu_tiles import empty, flat, padded
from nlbench.kernels.self_referential_scan import LONGEST_SEGMENT, Memories
from nlbench.kernels.self_referential_scan._triton_backward import backward
from nlbench.kernels.self_referential_scan._triton_forward import forward
from nlbench.kernels.self_referential_scan._triton_segments import inputs_backward, prepare


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs, queries, squares, gates, biases, homes, home_gates, limits, sizes):  # type: ignore[no-untyped-def]
        x, q, w, rows, bias = (flat(each, 2, each) for each in (inputs, queries, squares, gates, biases))
        h, h_rows = flat(homes, 2, w), flat(home_gates, 2, rows)
        programs, tokens, d = x.shape
        segments, chunks = -(-tokens // sizes["outer_chunk"]), -(-tokens // sizes["chunk"])
        states = empty((programs, segments, 2, d, d), x), empty((programs, segments, 2, d), x), empty((programs, chunks, d, d), x)
        outputs, final, final_rows = empty(x.shape, x), empty(w.shape, x), empty(rows.shape, x)
        forward[(programs,)](x, q, w, rows, h, h_rows, bias, outputs, *states, final, final_rows, *limits, tokens, **sizes)
        ctx.save_for_backward(x, q, h, h_rows, bias, *states)
        ctx.options, ctx.shapes = (limits, sizes), [each.shape for each in (inputs, squares, gates, biases)]
        return outputs.view(inputs.shape), final.view(squares.shape), final_rows.view(gates.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, d_outputs, d_final, d_final_rows):  # type: ignore[no-untyped-def]
        x, q, h, h_rows, bias, *states = ctx.saved_tensors
        limits, sizes = ctx.options
        d_o, d_w, d_rows = (flat(each, 2, each) for each in (d_outputs, d_final, d_final_rows))
        segments, tile = states[0].shape[1], sizes["CO"]
        (programs, tokens, d), low = x.shape, x.dtype
        d_x, d_inner, d_q, g_rows = (empty(each.shape, x) for each in (x, x, q, d_rows))
        g_w, base = d_w.to(torch.float32, copy=True), torch.zeros_like(d_w, dtype=torch.float32)
        base_rows, d_bias = empty(d_rows.shape, x), empty(bias.shape, x, torch.float32)
        k, probes, d_e, d_k = (empty(x.shape, x) for _ in range(4))
        solved, d_masks = (empty((programs, segments, tile, tile), x) for _ in range(2))
        written, gaps, predictions = (empty((programs, segments, 3, tile, d), x) for _ in range(3))
        d_before = empty((programs, tokens), x, torch.float32)
        to_states, to_homes = (empty((programs, segments, d, d), x) for _ in range(2))
        d_raw_k, d_raw_v = empty(x.shape, x), empty(x.shape, x)
        scales, d_raw_gates = (empty((programs, 2, tokens), x, torch.float32) for _ in range(2))
        made = k, probes, scales, solved, written, gaps, predictions, d_e, d_k, d_masks, d_before, to_states, to_homes
        shared = {name: value for name, value in sizes.items() if name != "CI"}
        prepare[(programs * segments,)](x, q, h, bias, *states, d_o, d_q, *made, *limits[1:], tokens, **shared)
        backward[(programs,)](
            x, q, h, h_rows, bias, *states, *made, d_o, d_rows, d_raw_k, d_raw_v, d_raw_gates, d_inner, d_q, g_w, g_rows, base,
            base_rows, d_bias, *limits, tokens, **sizes,
        )  # fmt: skip
        outer = {name: sizes[name] for name in ("outer_chunk", "D", "BD", "CO", "LOW", "num_warps", "num_stages")}
        inputs_backward[(programs * segments,)](d_raw_k, d_raw_v, d_raw_gates, *states[:2], d_x, tokens, **outer)
        g_w, base = g_w.to(low), base.to(low)
        if not sizes["SHARED"]:
            d_x = d_x + d_inner
        tokens, squares, gates, biases = ctx.shapes
        homes = ((d_w + base - g_w).view(squares), (d_rows + base_rows - g_rows).view(gates)) if sizes["HOME"] else (None, None)
        given = d_x.view(tokens), d_q.view(tokens), g_w.view(squares), g_rows.view(gates), d_bias.to(x.dtype).view(biases)
        return (*given, *homes, None, None)


def stacked(memories: Memories) -> tuple[Tensor, Tensor]:
    """The square memories transposed (S, H, 3, d, d), and the gates' rows (S, H, 2, d)."""
    keys, values, rate, retain, memory = memories
    return torch.stack([keys.mT, values.mT, memory.mT], 2), torch.stack([rate, retain], 2)


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
) -> tuple[Memories, Tensor]:
    """Memories and outputs after all tokens; arguments as in `self_referential_scan`.

    Raises `BackendError` for segments longer than one program solves for.
    """
    tokens, d = inputs.shape[2:]
    outer_chunk, chunk = max(1, min(outer_chunk, tokens)), max(1, min(chunk, tokens))
    if outer_chunk > LONGEST_SEGMENT:
        raise BackendError(
            f"backend 'triton' cannot run self_referential_scan with outer_chunk {outer_chunk}: at most {LONGEST_SEGMENT}.",
            "Use --backend reference, or a smaller outer_chunk.",
        )
    sizes: dict[str, Any] = {"chunk": chunk, "outer_chunk": outer_chunk, "D": d, "BD": padded(d)}
    sizes |= {"CI": padded(chunk), "CO": padded(outer_chunk), "SHARED": chunk == outer_chunk and rate_max == outer_rate_max}
    sizes |= {"L2": objective == "l2", "EXACT": read == "exact", "NORMALIZE": normalize_values, "HOME": initial is not None}
    sizes |= {"LOW": inputs.dtype == torch.bfloat16, "num_warps": 8 if d > 32 else 4, "num_stages": 1}
    homes = (None, None) if initial is None else stacked(initial)
    biases = torch.stack([rate_bias, retain_bias], -1)
    limits = rate_max, outer_rate_max, retain_min
    outputs, squares, gates = _Scan.apply(inputs, queries, *stacked(memories), biases, *homes, limits, sizes)
    keys, values, memory = (each.mT for each in squares.unbind(2))
    return Memories(keys, values, *gates.unbind(2), memory), outputs
