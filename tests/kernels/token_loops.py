"""The recurrences token by token, as the docstrings write them: what the kernels are judged against. Imports no kernel."""

import torch
from torch import Tensor


def self_referential_loop(
    inputs: Tensor,
    queries: Tensor,
    memories: tuple[Tensor, ...],
    rate_bias: Tensor,
    retain_bias: Tensor,
    *,
    chunk: int,
    outer_chunk: int,
    rate_max: float,
    outer_rate_max: float | None = None,
    retain_min: float = 0.0,
    objective: str = "l2",
    read: str = "stale",
    normalize_values: bool = True,
    initial: tuple[Tensor, ...] | None = None,
    target_clip: float | None = None,
) -> tuple[tuple[Tensor, ...], Tensor]:
    """The memories are ordered keys, values, rate, retain, memory."""

    def as_matrices(states: tuple[Tensor, ...]) -> list[Tensor]:
        return [state[..., None, :] if state.ndim == 3 else state for state in states]

    def unit(z: Tensor) -> Tensor:
        return z / torch.sqrt((z * z).sum(-2, keepdim=True) + 1e-12)

    def ask(state: Tensor, z: Tensor) -> Tensor:
        return state @ z + z if state.shape[-2] == z.shape[-2] else state @ z

    states = as_matrices(memories)
    homes = [torch.zeros_like(state) for state in states] if initial is None else as_matrices(initial)
    outputs = []
    for t in range(inputs.shape[-2]):
        if t % outer_chunk == 0:
            frozen = list(states)
        if t % chunk == 0:
            frozen[4] = states[4]
        x, q = inputs[..., t, :, None], queries[..., t, :, None]
        k, v = unit(ask(frozen[0], x)), ask(frozen[1], x)
        if normalize_values:
            v = unit(v)
        share = torch.sigmoid(frozen[2] @ x + rate_bias[..., None, None])
        alpha = retain_min + (1 - retain_min) * torch.sigmoid(frozen[3] @ x + retain_bias[..., None, None])
        outputs.append(ask(frozen[4] if read == "stale" else states[4], q).squeeze(-1))
        for i, (state, home) in enumerate(zip(states, homes, strict=True)):
            r = ask(frozen[i], v)
            if target_clip is not None:
                r = r * (target_clip / r.norm(dim=-2, keepdim=True)).clamp_max(1.0)
            if objective == "l2":
                r = r - ask(frozen[i], k)
            difference = state - home
            eta = share * (rate_max if outer_rate_max is None or i == 4 else outer_rate_max)
            states[i] = home + alpha * difference - eta * (difference @ k) @ k.mT + eta * r @ k.mT
    final = tuple(state.squeeze(-2) if old.ndim == 3 else state for state, old in zip(states, memories, strict=True))
    return final, torch.stack(outputs, -2)
