"""The fewest directions that span most of what a layer saw. In float64, whatever is given.

Shapes: S seeds, N inputs of a layer, D numbers in one.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

ROUNDING: Final = 1e-10
"""A direction of less than this share of all that a layer saw is one of rounding."""


def span(known: Tensor, rows: Tensor, threshold: float) -> None:
    """Add to known, (S, D, D) M Mᵀ, in place, the fewest directions with which it spans the share `threshold` of rows (S, N, D).

    Cost: of a singular value decomposition of min(N, D) by D.
    """
    rows = rows.double()
    if rows.shape[1] > rows.shape[2]:
        rows = torch.linalg.qr(rows, mode="r").R
    total = rows.square().sum((1, 2))
    left = rows - rows @ known.double()
    values, directions = torch.linalg.svd(left, full_matrices=False)[1:]
    energies = values.square()
    spanned_before = total[:, None] - energies.sum(1, keepdim=True) + energies.cumsum(1) - energies
    needed = (spanned_before < threshold * total[:, None]) & (energies > ROUNDING * total[:, None])
    taken = directions * needed[..., None]
    known.add_((taken.mT @ taken).to(known.dtype))


def extended(axes: Tensor, rows: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return O (S, D, D) with the columns that rows (S, N, D) need beside those of `axes`, and (S, D) bool: those that are the
    basis of rows.

    Cost: of a singular value decomposition of min(N, D) by D.
    """
    old, rows = axes.double(), rows.double()
    if rows.shape[1] > rows.shape[2]:
        rows = torch.linalg.qr(rows, mode="r").R
    values, directions = torch.linalg.svd(rows - rows @ old @ old.mT, full_matrices=False)[1:]
    pool = torch.cat([old, directions.mT], 2)
    energies = torch.cat([(rows @ old).square().sum(1), values.square()], 1)
    sorted_energies, order = energies.sort(dim=1, descending=True, stable=True)
    before = sorted_energies.cumsum(1) - sorted_energies
    total = rows.square().sum((1, 2))[:, None]
    needed = (before < threshold * total) & (sorted_energies > ROUNDING * total)
    chosen = torch.zeros_like(needed).scatter_(1, order, needed)
    there = chosen.clone()
    there[:, : old.shape[2]] |= old.any(1)
    first = (~there).int().argsort(dim=1, stable=True)[:, : old.shape[2]]
    kept = pool.gather(2, first[:, None].expand(-1, old.shape[1], -1)) * there.gather(1, first)[:, None]
    return kept.to(axes.dtype), chosen.gather(1, first)


def most_spanned(bases: Tensor, whole: Tensor, along: Tensor, most: int, sufficient: float) -> Tensor:
    """Return (S, T) bool: the tasks, `most` at most, whose bases (S, T, D) span most of a gradient, and of its length more than
    the share `sufficient`.

    whole  (S, O, D), the gradient
    along  (S, O, D), the same in the coordinates of the columns of which `bases` says whose they are
    """
    spanned = (bases.float() @ along.square().sum(1)[..., None])[..., 0]
    first = spanned.topk(min(most, spanned.shape[1]), 1).indices
    enough = spanned > sufficient**2 * whole.square().sum((1, 2))[:, None]
    return torch.zeros_like(enough).scatter_(1, first, True) & enough
