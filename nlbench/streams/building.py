"""A declared stream -> the stream, its data loaded and verified."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from nlbench import catalog, sources
from nlbench.errors import SpecError
from nlbench.specs import StreamSpec
from nlbench.streams.stream import Stream


def build(name: str, spec: StreamSpec, seeds: Sequence[int], device: torch.device, data: Path | None = None) -> Stream:
    """Return the declared stream for these seeds, its data loaded and verified. Raises `DataError` if the data cannot be had."""
    if spec.stream.kind == "arrays":
        raise SpecError([f"stream {name}: its arrays live in Python; pass the stream itself to nlbench.run"])
    kind: Callable[..., Stream] = find(spec.stream.kind)
    return kind(name, spec, sources.load(spec.stream.source, data), seeds, device)  # type: ignore[attr-defined]


def find(kind: str) -> type[Stream]:
    """Return the class of a kind of stream."""
    return catalog.extension("streams", kind, _is_stream, "a subclass of nlbench.streams.stream.Stream")


def _is_stream(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Stream)
