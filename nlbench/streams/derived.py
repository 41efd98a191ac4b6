"""A stream made of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import Tensor

from nlbench.streams.stream import Samples, Stream

if TYPE_CHECKING:
    from nlbench.plan import DeclaredStream


class Derived(Stream):
    """The tasks of another stream; subclasses change some of what it says."""

    def __init__(self, stream: Stream, declared: DeclaredStream | None = None) -> None:
        """`declared` is what it is, if not what the other stream is."""
        super().__init__(declared or stream.declared, stream.seeds, stream.device)
        self.input_shape, self.n_classes, self.n_tasks = stream.input_shape, stream.n_classes, stream.n_tasks
        self.mixes_tasks, self.class_orders, self.black = stream.mixes_tasks, stream.class_orders, stream.black
        self._stream = stream

    @property
    def sample(self) -> Literal["image", "vector", "sequence", "features"] | None:
        return self._stream.sample

    def train(self, task: int) -> Samples:
        return self._stream.train(task)

    def test(self, task: int) -> Samples:
        return self._stream.test(task)

    def task_classes(self, task: int) -> Tensor:
        return self._stream.task_classes(task)

    def first_of(self, task: int) -> int:
        return self._stream.first_of(task)

    def pixel_order(self, task: int) -> Tensor | None:
        return self._stream.pixel_order(task)
