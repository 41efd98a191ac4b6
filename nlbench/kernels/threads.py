"""How many threads torch and the kernels' programs run on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import torch

_PROGRAMS: Final[ContextVar[int | None]] = ContextVar("programs", default=None)


def program_threads() -> int:
    """Threads of a program: as many as torch has, or had when `single_torch_thread` took them from it."""
    return _PROGRAMS.get() or torch.get_num_threads()


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Torch runs on so many threads while this lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def single_torch_thread() -> Iterator[None]:
    """Torch runs on one thread while this lasts; programs, which share out whole seeds and not single small products, on all."""
    token = _PROGRAMS.set(torch.get_num_threads())
    try:
        with torch_threads(1):
            yield
    finally:
        _PROGRAMS.reset(token)
