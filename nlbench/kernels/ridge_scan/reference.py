"""The equations in order, all tokens of a chunk at once, in plain differentiable torch; of bfloat16 in float32."""

from __future__ import annotations

import torch
from torch import Tensor

from nlbench.kernels.memory_scan.reference import decay_products


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
    dtype = torch.promote_types(keys.dtype, torch.float32)
    G, B, tokens = (
        0.5 * (gram + gram.mT).to(dtype),
        memory.to(dtype),
        [each.to(dtype) for each in (keys, targets, rate, retain, queries)],
    )
    whole = ridge.to(dtype)[..., None, None] * torch.eye(keys.shape[-1], dtype=dtype, device=keys.device)
    outputs = []
    for k, v, eta, alpha, q in zip(*(each.split(chunk, 2) for each in tokens), strict=True):
        decay = decay_products(alpha)
        start, weights = decay[..., 1:, 0], decay[..., 1:, 1:] * eta[..., None, :]
        A = start[..., None, None] * (G + whole)[:, :, None] + torch.einsum("shtj,shjk,shjl->shtkl", weights, k, k)
        x = torch.cholesky_solve(q[..., None], torch.linalg.cholesky(A)).squeeze(-1)
        outputs.append(start[..., None] * (x @ B.mT) + (weights * (x @ k.mT)) @ v)
        left, last = start[..., -1, None, None], weights[..., -1, :, None] * k
        G, B = left * G + last.mT @ k, left * B + v.mT @ last
    return G.to(keys.dtype), B.to(keys.dtype), torch.cat(outputs, 2).to(keys.dtype)
