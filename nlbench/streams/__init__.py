"""Streams: declarations made into tensors, all seeds at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from nlbench import sources
from nlbench.errors import SpecError
from nlbench.specs import StreamSpec
from nlbench.specs.streams import Arrays as ArraysSpec
from nlbench.streams.arrays import ArrayStream, ArrayTasks, from_arrays
from nlbench.streams.split import SplitStream
from nlbench.streams.stream import Samples, Stream
from nlbench.streams.validation import ValidationStream
from nlbench.streams.whole import PermutedStream, RotatedStream

STREAMS: Final[dict[str, type[SplitStream | PermutedStream | RotatedStream]]] = {
    "split": SplitStream,
    "permuted": PermutedStream,
    "rotated": RotatedStream,
}
"""The class of every declared kind."""


def build(name: str, spec: StreamSpec, seeds: Sequence[int], device: torch.device, data: Path | None = None) -> Stream:
    """Return the declared stream for these seeds, its data loaded and verified. Raises `DataError` if the data cannot be had."""
    if isinstance(spec.stream, ArraysSpec):
        raise SpecError([f"stream {name}: its arrays live in Python; pass the stream itself to nlbench.run"])
    return STREAMS[spec.stream.kind](name, spec, sources.load(spec.stream.source, data), seeds, device)


__all__ = [
    "STREAMS",
    "ArrayStream",
    "ArrayTasks",
    "PermutedStream",
    "RotatedStream",
    "Samples",
    "SplitStream",
    "Stream",
    "ValidationStream",
    "build",
    "from_arrays",
]
