"""New samples into the places of a buffer that give way to them, by one of two ways."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def by_place(pairs: Sequence[tuple[Tensor, Tensor]], free: Tensor, taken: Tensor) -> None:
    """Write, of each pair (S, K, …) and (1 or S, B, …), what is `taken` (S, B) to what is `free` (S, K), as many, in order."""
    seeds, count = taken.shape
    places, new = (each.flatten().nonzero()[:, 0] for each in (free, taken))
    for field, value in pairs:
        rows = value.flatten(0, 1).index_select(0, new % count if len(value) < seeds else new)
        field.flatten(0, 1).index_copy_(0, places, rows)


def by_shape(pairs: Sequence[tuple[Tensor, Tensor]], free: Tensor, taken: Tensor) -> None:
    """As `by_place`, to the bit, and captured: how much is written follows from shapes, so that nothing is asked of the host.
    What is not taken writes again what its seed's first one that is does, or, where none is, what is there.
    """
    (seeds, count), capacity = taken.shape, free.shape[1]
    samples, any_taken = torch.arange(count, device=taken.device), taken.any(1, keepdim=True)
    source = torch.where(taken, samples, taken.int().argmax(1, keepdim=True))  # (S, B)
    spots = torch.where(free, torch.arange(capacity, device=free.device), capacity).sort(1).values
    number = (taken.cumsum(1) - 1).gather(1, source).clamp(min=0)  # of each among those taken
    place = torch.where(any_taken, spots.gather(1, number), 0)
    row = torch.arange(seeds, device=taken.device)[:, None]
    places = (place + capacity * row).flatten()
    for field, value in pairs:
        rows = value.flatten(0, 1).index_select(0, (source + (count * row if len(value) == seeds else 0)).flatten())
        new = any_taken.repeat(1, count).view(-1, *[1] * (rows.ndim - 1))
        field.flatten(0, 1).index_copy_(0, places, torch.where(new, rows, field.flatten(0, 1)[places]))
