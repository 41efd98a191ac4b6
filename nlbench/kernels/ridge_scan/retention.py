"""What retention and ridge owe to a loss: the same sums over tokens on every backend that makes its own gradients."""

from __future__ import annotations

import torch
from torch import Tensor


def retention_gradients(
    rate: Tensor, retain: Tensor, ridge: Tensor, d_rate: Tensor, faded: Tensor, ends: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """∂α (S, H, L) and ∂λ (S, H). What is read depends on η_j / Π α up to j, on λ over Π α up to a chunk's start, and the last
    states on Π α of all.

    d_rate  (S, H, L)       ∂η
    faded   (S, H, chunks)  -∂λ, of the ridge that each chunk starts with
    ends    (S, H)          what the last gram and memory owe to their own size
    """
    d_log = -rate * d_rate
    starts = torch.arange(chunk - 1, rate.shape[-1] - 1, chunk, device=rate.device)
    d_log[..., starts] += ridge[..., None] * faded[..., 1:]
    d_log[..., -1] += ends
    return d_log.flip(-1).cumsum(-1).flip(-1) / retain, -faded.sum(-1)
