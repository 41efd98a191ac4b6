"""The shape rules of the kernel ops."""

from __future__ import annotations

from torch import Tensor


def check_shapes(op: str, **named: tuple[Tensor | None, str]) -> dict[str, int]:
    """The size of every letter; raises `ValueError` where two tensors disagree on one, or differ in dtype or device.

    Each argument is a tensor (None is skipped) and its axes as letters, such as "S H L K".
    """
    sizes: dict[str, int] = {}
    first: tuple[str, Tensor] | None = None
    for name, (tensor, axes) in named.items():
        if tensor is None:
            continue
        letters = axes.split()
        if tensor.ndim != len(letters):
            raise ValueError(f"{op}: {name} must have axes ({', '.join(letters)}), got shape {tuple(tensor.shape)}")
        for letter, size in zip(letters, tensor.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise ValueError(
                    f"{op}: axis {letter} of {name} {tuple(tensor.shape)} must be {sizes[letter]} as in the arguments before it"
                )
        if first is None:
            first = (name, tensor)
        elif (tensor.dtype, tensor.device) != (first[1].dtype, first[1].device):
            theirs, ours = (f"{each.dtype} on {each.device}" for each in (tensor, first[1]))
            raise ValueError(f"{op}: {name} is {theirs}, {first[0]} is {ours}; they must agree")
    return sizes
