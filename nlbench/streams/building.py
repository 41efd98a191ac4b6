"""A declared stream -> the stream, its data loaded and verified."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nlbench import catalog
from nlbench.streams.stream import Stream

if TYPE_CHECKING:
    from nlbench.plan import DeclaredStream


def build(declared: DeclaredStream, seeds: Sequence[int], device: torch.device, data: Path | None = None) -> Stream:
    """Return the declared stream for these seeds, its data loaded and verified. Raises `DataError` if the data cannot be had."""
    return find(declared.spec.stream.kind)(declared, seeds, device, data)


def find(kind: str) -> type[Stream]:
    """Return the class of a kind of stream: ours, a registered one, or that of `./file.py:Class` or `package.module:Class`."""
    return catalog.extension("streams", kind, _is_stream, "a subclass of nlbench.Stream")


def _is_stream(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Stream)
