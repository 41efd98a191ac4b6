"""The recurrence token by token, as `memory_scan` states it: what the closed forms are judged against, and the loop to beat."""

from __future__ import annotations

import torch
from torch import Tensor


def scan_tokens(
    memory: Tensor,
    keys: Tensor,
    targets: Tensor,
    rate: Tensor,
    retain: Tensor,
    *,
    chunk: int,
    residual: str = "given",
    values: Tensor | None = None,
    queries: Tensor | None = None,
    read: str = "stale",
    momentum: Tensor | None = None,
    velocity: Tensor | None = None,
    initial: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Memory, outputs and velocity after all tokens; arguments as in `memory_scan`."""
    home = torch.zeros_like(memory) if initial is None else initial
    speed = torch.zeros_like(memory) if velocity is None else velocity
    state, outputs = memory, []
    for t in range(keys.shape[-2]):
        if t % chunk == 0:
            frozen = state
        k = keys[..., t, :, None]
        r = targets[..., t, :, None]
        if residual == "minus_prediction":
            r = r - frozen @ k
        elif values is not None:
            r = r + frozen @ values[..., t, :, None] - frozen @ k
        if queries is not None:
            outputs.append(((frozen if read == "stale" else state) @ queries[..., t, :, None]).squeeze(-1))
        eta, alpha = rate[..., t, None, None], retain[..., t, None, None]
        difference = state - home
        step = eta * r @ k.mT
        if momentum is not None:
            step = speed = momentum[..., t, None, None] * speed + step
        state = home + alpha * difference - eta * (difference @ k) @ k.mT + step
    return state, torch.stack(outputs, -2) if outputs else None, None if momentum is None else speed
