"""Where two collected states differ first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import torch
from torch import Tensor

from nlbench.state.collecting import STRUCTURE

_WHOLE: Final = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def first_difference(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> str | None:
    """Return the path of the first thing in which two states differ, bit by bit (a NaN equals itself); None if they are equal."""
    for name, value in before.items():
        if name not in after or (_apart(name) is None and not same(value, after[name])):
            return name
    added = [name for name in after if name not in before]
    if added:
        return added[0]
    for name, value in before.items():
        owner = _apart(name)
        if owner is not None and not same(value, after[name]):
            inner = _where(json.loads(_text(value)), json.loads(_text(after[name])), "") or "its structure"
            return f"{owner}{inner}"
    return None


def _apart(name: str) -> str | None:
    """Return of a structure's name what stands before it, where several states are one; None of another tensor's."""
    owner, slash, last = name.rpartition("/")
    return owner + slash if last == STRUCTURE else None


def _text(structure: Tensor) -> bytes:
    return bytes(structure.cpu().numpy())


def digested(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state in which digests stand for all tensors but structures: small to keep, and compared as the whole is."""
    return {name: value if _apart(name) is not None else _digest(value) for name, value in state.items()}


def _digest(value: Tensor) -> Tensor:
    content = sha256(f"{value.dtype} {tuple(value.shape)}".encode())
    content.update(as_bytes(value).cpu().numpy().data)
    return torch.frombuffer(bytearray(content.digest()), dtype=torch.uint8)


def as_bytes(value: Tensor) -> Tensor:
    """Return a tensor's numbers in order as bytes (uint8), where it lies."""
    if not value.numel():
        return torch.empty(0, dtype=torch.uint8, device=value.device)  # an empty row may have a step of 0, which no view has
    row = value.detach().resolve_conj().resolve_neg().contiguous()
    return row.as_strided((row.numel(),), (1,)).view(torch.uint8)  # one number is in order, whatever its step


def same(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors are equal to the bit."""
    if (first.shape, first.dtype) != (second.shape, second.dtype):
        return False
    if first.is_floating_point() or first.is_complex():
        first, second = _bits(first), _bits(second)
    return torch.equal(first, second.to(first.device))


def _bits(value: Tensor) -> Tensor:
    """Return a tensor's numbers as whole ones of the same bits, where it lies: as bytes they compare a quarter as fast."""
    whole = _WHOLE.get(value.dtype.itemsize)
    return as_bytes(value) if whole is None else value.detach().resolve_conj().resolve_neg().view(whole)


def _where(first: Any, second: Any, path: str) -> str:
    if first == second:
        return ""
    if not (isinstance(first, list) and isinstance(second, list) and first[:1] == second[:1] and len(first) == len(second)):
        return path or "its structure"
    if first[:1] == ["object"] and isinstance(first[4], dict) and isinstance(second[4], dict):
        for name in {**first[4], **second[4]}:
            inner = f"{path}.{name}".lstrip(".")
            if (name in first[4]) != (name in second[4]):
                return inner
            if found := _where(first[4].get(name), second[4].get(name), inner):
                return found
    for one, other in zip(first, second, strict=True):
        if not isinstance(one, str | dict) and (found := _where(one, other, path)):
            return found
    return path or "its structure"
