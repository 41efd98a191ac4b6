"""The memory of NumPy's arrays: which of those held show the same, and arrays that show it together again.

The place of an array that shares its memory is [offset, strides, size], in bytes: where its first number lies, the steps between
its numbers, and how much memory all that share it span.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor


def in_rows(value: np.ndarray) -> list[int]:
    """Return an array's axes from the widest step in memory to the narrowest, those of one item first."""
    if not value.size:
        return list(range(value.ndim))
    return sorted(
        range(value.ndim), key=lambda axis: (value.shape[axis] > 1, -abs(value.strides[axis]) * (value.shape[axis] > 1))
    )


def owner(value: np.ndarray) -> np.ndarray:
    """Return the array whose memory an array shows: itself, or what it is a view of, at last."""
    while isinstance(value.base, np.ndarray):
        value = value.base
    return value


class Shown:
    """The arrays that a walk met, by whose memory they show."""

    def __init__(self) -> None:
        self._owners: dict[int, np.ndarray] = {}
        self._nodes: dict[int, list[tuple[np.ndarray, list[Any]]]] = defaultdict(list)

    def take(self, value: np.ndarray, node: list[Any]) -> None:
        """Add an array, and its node, the last item of which is to be its place."""
        its = owner(value)
        self._owners.setdefault(id(its), its)
        self._nodes[id(its)].append((value, node))

    def place(self) -> None:
        """Give those that share their memory their number and place."""
        for number, nodes in enumerate(self._nodes.values()):
            if len(nodes) > 1:
                bounds = [np.lib.array_utils.byte_bounds(value) for value, _ in nodes]
                start, end = min(low for low, _ in bounds), max(high for _, high in bounds)
                for value, node in nodes:
                    node[-1] = [number, value.ctypes.data - start, list(value.strides), end - start]

    def beside(self, tensors: Iterable[Tensor]) -> list[list[Any]]:
        """Return the nodes of arrays whose memory something else shows than arrays that are views of it, such as a tensor."""
        if not self._owners:
            return []
        storages = {
            tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in tensors if tensor.device.type == "cpu"
        }
        spans = [(store.data_ptr(), store.data_ptr() + store.nbytes(), 0) for store in storages.values()]
        spans += [(*np.lib.array_utils.byte_bounds(each), key) for key, each in self._owners.items() if each.size]
        found, last = set(), (0, 0, 0)
        for span in sorted(span for span in spans if span[0] < span[1]):
            if span[0] < last[1]:
                found |= {span[2], last[2]}
            last = max(last, span, key=lambda each: each[1])
        return [node for key in found - {0} for _, node in self._nodes[key]]


class Placed:
    """What stands for the arrays that were saved, from the first on that is put there."""

    def __init__(self) -> None:
        self._written: set[int] = set()  # whose memory of the fresh object holds a saved array
        self._memory: dict[int, np.ndarray] = {}

    def put(self, own: Any, saved: np.ndarray, place: Any) -> np.ndarray:
        """Return an array that holds what a saved one does: `own`, what the fresh object has there, if it has the same form and
        shares its memory with none that was put before.
        """
        if place is not None:
            number, offset, strides, size = place
            if number not in self._memory:
                self._memory[number] = _empty(size)
            made = np.ndarray(saved.shape, saved.dtype, self._memory[number].data, offset, strides)
            made[...] = saved
            return made
        form = (saved.shape, saved.dtype, in_rows(saved))
        if type(own) is np.ndarray and own.flags.writeable and (own.shape, own.dtype, in_rows(own)) == form:
            its = id(owner(own))
            if its not in self._written:
                self._written.add(its)
                own[...] = saved
                return own
        return saved


def _empty(size: int) -> np.ndarray:
    try:
        return np.empty(size, np.uint8)
    except MemoryError:
        raise ValueError(f"an array in {size} bytes") from None
