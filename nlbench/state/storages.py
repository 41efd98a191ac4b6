"""The memory of tensors: where each one saved lies in it, and what of a fresh object stands for it.

A place is [offset, strides, shape]. It is kept of tensors that share their memory, and of those that skip numbers of theirs or
show some several times, as `expand` makes them: of these each is saved once.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Any, Final

import torch
from torch import Tensor, nn

TENSORS: Final = {"tensor": Tensor, "parameter": nn.Parameter, "buffer": nn.Buffer}
"""By the name that the node of one begins with."""
_PLACE: Final = 6
"""Where in the node of a tensor stands its place in memory, if it is kept."""


def is_dense(value: Tensor) -> bool:
    """Return whether a tensor shows every number of its memory from its first to its last once, in whatever order of axes."""
    if value.is_contiguous():
        return True
    steps = sorted((step, size) for step, size in zip(value.stride(), value.shape, strict=True) if size > 1)
    sizes = accumulate((size for _, size in steps), mul, initial=1)
    return not value.numel() or all(step == size for (step, _), size in zip(steps, sizes, strict=False))


def once(value: Tensor) -> Tensor:
    """Return a tensor without the axes along which it shows the same numbers again: one is left of each."""
    if value.is_contiguous():
        return value
    for axis, (step, size) in enumerate(zip(value.stride(), value.shape, strict=True)):
        if step == 0 and size > 1:
            value = value.narrow(axis, 0, 1)
    return value


class Storages:
    """Which memory stands for which saved storage, from the first tensor on that is put there."""

    def __init__(self, root: Any) -> None:
        self._extents = _extents(root)
        self._stands_for: dict[int, int] = {}  # by storage of the fresh object, a saved one
        self._rows: dict[int, tuple[Tensor, int]] = {}  # by saved storage, its numbers in a row, and where the first view lies

    def fits(self, own: Any, kind: type, saved: Tensor, storage: int, view: Any) -> bool:
        """Return whether a tensor of the fresh object may be written in place: of the same form, shared with nothing else, and
        where its place was kept, at the same one.
        """
        shape = saved.shape if view is None else torch.Size(view[2])
        if (
            not isinstance(own, Tensor)
            or type(own) is not kind
            or (own.shape, own.dtype, own.layout) != (shape, saved.dtype, torch.strided)
        ):
            return False
        in_its_place = is_dense(own) if view is None else list(own.stride()) == view[1]
        if not in_its_place:
            return False
        if self._stands_for.setdefault(own.untyped_storage()._cdata, storage) != storage:
            return False
        if view is None:
            return True
        offset = view[0]
        if storage not in self._rows:
            size = own.untyped_storage().nbytes() // own.element_size()
            self._rows[storage] = (own.detach().as_strided((size,), (1,), 0), own.storage_offset() - offset)
        row, start = self._rows[storage]
        return own.storage_offset() == start + offset and row.untyped_storage()._cdata == own.untyped_storage()._cdata

    def made(self, saved: Tensor, device: str, storage: int, view: Any) -> Tensor:
        """Return a tensor like a saved one, at its place in memory, with those it shared that with."""
        if view is None:
            return torch.empty_like(saved, device=device).copy_(saved)
        offset, strides, shape = view
        if storage not in self._rows:
            self._rows[storage] = (torch.empty(self._extents[storage], dtype=saved.dtype, device=device), 0)
        row, start = self._rows[storage]
        fits = start + offset >= 0 and start + offset + _span(shape, strides) <= len(row)
        if not fits or (row.dtype, row.device.type) != (saved.dtype, torch.device(device).type):
            return saved.clone().to(device).expand(shape)
        found = row.as_strided(shape, strides, start + offset)
        once(found).copy_(saved)
        return found


def _extents(root: Any) -> dict[int, int]:
    """Return by storage how many numbers those tensors span whose places in it were kept."""
    found: dict[int, int] = {}
    left = [root]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            left += node.values()
        elif isinstance(node, list):
            left += node
            if len(node) > _PLACE and isinstance(node[0], str) and node[0] in TENSORS and node[_PLACE]:
                offset, strides, shape = node[_PLACE]
                found[node[3]] = max(found.get(node[3], 0), offset + _span(shape, strides))
    return found


def _span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Return how many numbers lie from a tensor's first to its last, both included."""
    return 1 + sum((max(size, 1) - 1) * step for size, step in zip(shape, strides, strict=True))
