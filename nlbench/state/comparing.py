"""Where two collected states differ first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nlbench.state.collecting import STRUCTURE


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


def same(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors are equal to the bit."""
    if (first.shape, first.dtype) != (second.shape, second.dtype):
        return False
    if first.is_floating_point() or first.is_complex():
        first, second = (each.detach().contiguous().flatten().view(torch.uint8) for each in (first, second))
    return torch.equal(first, second.to(first.device))


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
