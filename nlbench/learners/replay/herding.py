"""Herding: the samples of each group whose mean stays nearest to the group's.

Shapes: S seeds, N samples that are ranked, G groups, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor


def herded(features: Tensor, groups: Tensor, most: int, where: Tensor | None = None) -> Tensor:
    """Return in which order samples are chosen within their groups (S, N), as ranks (S, N) int64: 0 for the one whose feature is
    nearest the group's mean, k for the one that brings the mean of the first k + 1 nearest to it, `most` for all others.

    Features (S, N, F) are taken as they are. `where` (S, N) bool are the samples that are there; None: all.
    Source: Rebuffi et al. 2017 (arXiv 1611.07725), alg. 4. Cost: products of all pairs, then `most` rounds over (groups, N).
    """
    there = torch.ones_like(groups, dtype=torch.bool) if where is None else where
    free = (groups[:, None] == groups[there].unique()[None, :, None]) & there[:, None]  # (S, G, N)
    products, sizes = features @ features.mT, free.sum(2, keepdim=True)
    towards = free.to(products.dtype) @ products / sizes.clamp(min=1)  # of each group's mean and each feature
    squares = products.diagonal(dim1=1, dim2=2)[:, None]
    chosen = torch.zeros_like(towards)  # of the sum of those chosen and each feature
    ranks = torch.full_like(groups, most)
    for k in range(min(most, int(sizes.max()))):
        # |mean - (sum + feature) / (k + 1)|² without the parts that are the same for all
        distances = (2 * chosen + squares) / (k + 1) ** 2 - 2 * towards / (k + 1)
        best = distances.masked_fill(~free, torch.inf).argmin(2, keepdim=True)  # (S, G, 1)
        taken = torch.zeros_like(free).scatter_(2, best, True) & free
        ranks = torch.where(taken.any(1), k, ranks)
        free &= ~taken
        chosen += products.gather(1, best.expand_as(chosen))
    return ranks
