"""Named tensors as the bytes of a file of safetensors, each as its bytes, so that no dtype is missing; and read again one by one.

Neither way are two of them copied at once: what a learner holds may be most of what a machine has.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from math import prod
from typing import Annotated, BinaryIO, Final, Literal

import numpy as np
import torch
from pydantic import Field, TypeAdapter
from torch import Tensor

from nlbench.specs.model import Strict
from nlbench.state import as_bytes

Size = Annotated[int, Field(ge=0)]

Form = tuple[str, list[Size], list[Size]]
"""What a tensor's bytes do not say: its dtype, its shape, and its axes from the widest step in memory to the narrowest, in which
order they are written: products of another layout are rounded otherwise."""

_LENGTH: Final = 8
"""Bytes that say how long the header is, which follows them; tensors begin at a multiple of as many."""


class _Place(Strict):
    """Where in a file bytes lie, as its header says it."""

    dtype: Literal["U8"]
    shape: Annotated[tuple[Size], Field(strict=False)]
    data_offsets: Annotated[tuple[Size, Size], Field(strict=False)]


_HEADER: Final = TypeAdapter(dict[str, _Place])


def form_of(value: Tensor) -> Form:
    """Return the form of a tensor."""
    steps = value.stride()
    axes = sorted(range(value.ndim), key=lambda axis: -steps[axis])
    return str(value.dtype).removeprefix("torch."), list(value.shape), axes


def content(value: Tensor) -> np.ndarray:
    """Return the bytes (n,) of a tensor, in its own memory where it fills that."""
    _, _, axes = form_of(value)
    return as_bytes(value.permute(axes)).cpu().numpy()


def packed(arrays: Mapping[str, np.ndarray]) -> list[bytes | memoryview]:
    """Return bytes (n,) by name in the format of safetensors, part by part: its own writer copies them all, twice."""
    bounds = pairwise(accumulate((len(each) for each in arrays.values()), initial=0))
    places = zip(arrays, arrays.values(), bounds, strict=True)
    header = json.dumps({name: {"dtype": "U8", "shape": [len(each)], "data_offsets": place} for name, each, place in places})
    header += " " * (-len(header) % _LENGTH)
    return [len(header).to_bytes(_LENGTH, "little"), header.encode(), *(each.data for each in arrays.values())]


class Packed:
    """What `packed` made, in an open file from where it stands to its end."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises `ValueError` where it is not that."""
        self._file, begins, ends = file, file.tell(), file.seek(0, os.SEEK_END)
        length = int.from_bytes(self._bytes(begins, min(_LENGTH, ends - begins)), "little")
        self._start = begins + _LENGTH + length
        if self._start > ends:
            raise ValueError("its header is longer than the file")
        held = _HEADER.validate_json(self._bytes(begins + _LENGTH, length))
        self._places = {name: place.data_offsets for name, place in held.items()}
        bounds = sorted(self._places.values())
        if [*(first for first, _ in bounds), ends - self._start] != [0, *(last for _, last in bounds)]:
            raise ValueError("its tensors do not fill it one after the other")

    def read(self, name: str) -> bytes:
        """Return what stands under a name. Raises `KeyError`."""
        first, last = self._places[name]
        return self._bytes(self._start + first, last - first)

    def tensor(self, name: str, form: Form) -> Tensor:
        """Return what stands under a name as a tensor of its own. Raises `OSError` where it cannot be read."""
        (first, last), (dtype, shape, axes) = self._places[name], form
        read = torch.empty(last - first, dtype=torch.uint8)
        self._read(first, read.numpy())
        back = [axes.index(axis) for axis in range(len(axes))]
        return read.view(getattr(torch, dtype)).reshape([shape[axis] for axis in axes]).permute(back)

    def put(self, name: str, form: Form, own: Tensor) -> None:
        """Make a tensor what stands under a name, read to where it lies: there is no other of its size meanwhile."""
        (first, _), (_, _, axes) = self._places[name], form
        if own.device.type != "cpu" or form_of(own) != form or not own.permute(axes).is_contiguous():
            own.copy_(self.tensor(name, form))
        else:
            self._read(first, content(own))

    def check(self, name: str, form: Form) -> None:
        """Raise `ValueError` or `KeyError` where what stands under a name has not this form."""
        (first, last), (dtype, shape, axes) = self._places[name], form
        kind = getattr(torch, dtype, None)
        if not isinstance(kind, torch.dtype) or sorted(axes) != list(range(len(shape))):
            raise ValueError(f"no tensor has the form {dtype[:60]}, {shape[:9]}, {axes[:9]}")
        if prod(shape) * kind.itemsize != last - first:
            raise ValueError(f"a tensor of {last - first} bytes cannot have the form {dtype}, {shape[:9]}")

    def _read(self, first: int, target: np.ndarray) -> None:
        self._file.seek(self._start + first)
        if self._file.readinto(target) < len(target):  # type: ignore[attr-defined]
            raise OSError(errno.EIO, "it became shorter")

    def _bytes(self, first: int, size: int) -> bytes:
        self._file.seek(first)
        return self._file.read(size)


class Stored(Mapping[str, Tensor]):
    """Tensors of an open file by name, each read anew whenever it is asked for."""

    def __init__(self, packed: Packed, forms: Mapping[str, tuple[str, Form]]) -> None:
        """`forms` are, by name, the name in the file and the form. Raises `ValueError` or `KeyError` where one does not fit."""
        for each in forms.values():
            packed.check(*each)
        self._packed, self._forms = packed, forms

    def under(self, prefix: str) -> Stored:
        """Return those whose names begin so, without that."""
        own = {name.removeprefix(prefix): each for name, each in self._forms.items() if name.startswith(prefix)}
        return Stored(self._packed, own)

    def __getitem__(self, name: str) -> Tensor:
        return self._packed.tensor(*self._forms[name])

    def put(self, name: str, own: Tensor) -> None:
        """Make a tensor what is stored under a name."""
        self._packed.put(*self._forms[name], own)

    def __iter__(self) -> Iterator[str]:
        return iter(self._forms)

    def __len__(self) -> int:
        return len(self._forms)
