"""A declared stream -> the stream, its data loaded and verified."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from nlbench import catalog
from nlbench.errors import DataError
from nlbench.streams.disturbed import disturbed
from nlbench.streams.stream import Stream

if TYPE_CHECKING:
    from nlbench.plan import DeclaredStream


def build(declared: DeclaredStream, seeds: Sequence[int], device: torch.device, data: Path | None = None) -> Stream:
    """Return the declared stream for these seeds, its data loaded and verified. Raises `DataError` if the data cannot be had, if
    it is called class-incremental and no task brings a class, or if images are to be changed and there are none.
    """
    said = declared.spec.stream
    once = said.model_copy(update={"tasks": said.different})
    own = replace(declared, spec=declared.spec.model_copy(update={"stream": once}))
    stream = find(said.kind)(own, seeds, device, data)
    if stream.scenario == "class-il" and stream.n_tasks > 1 and _brings_no_class(stream):
        raise DataError(
            f"{declared.name}: all {stream.n_tasks} tasks have the same classes, so nothing in it is class-incremental.",
            "Call it domain-il (--scenario domain-il, or scenario= in Python), or task-il where a learner is told the task.",
        )
    if (changes := declared.spec.protocol.augment) and (len(stream.input_shape) != 3 or stream.pixel_order(1) is not None):
        raise DataError(
            f"{declared.name}: protocol.augment = {list(changes)} changes images, got samples of {stream.input_shape}.",
            "Leave it out.",
        )
    return disturbed(stream, declared) if declared.disturbed else stream


def _brings_no_class(stream: Stream) -> bool:
    first = stream.task_classes(1)
    return all(torch.equal(stream.task_classes(task), first) for task in range(2, stream.n_tasks + 1))


def find(kind: str) -> type[Stream]:
    """Return the class of a kind of stream: ours, a registered one, or that of `./file.py:Class` or `package.module:Class`."""
    return catalog.extension("streams", kind, _is_stream, "a subclass of nlbench.Stream")


def _is_stream(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Stream)
