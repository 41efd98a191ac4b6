"""Steps captured as graphs on a CUDA device: dozens of small kernels behind one launch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Captured:
    """A function of tensors that changes others in place, captured on a CUDA device and launched whole.

    Its first call of a kind runs as written, which warms up what it uses; the second is captured; a capture is made anew where
    one of the tensors behind it has moved. On other devices every call runs as written. Results are the same to the bit.
    """

    def __init__(self, function: Callable[..., Tensor], most: int | None = None) -> None:
        """`most` is how many kinds are captured, each of which holds its inputs; further ones run as written."""
        self._function = function
        self._most = most
        self._captures: dict[Hashable, _Capture | None] = {}

    def __call__(self, state: Sequence[Tensor], *inputs: Tensor, kind: Hashable = None) -> Tensor:
        """The function of the inputs, a fresh tensor. `state` is every tensor it reads or changes besides; calls of one kind, and
        of inputs of one shape, launch the same kernels.
        """
        if (*inputs, *state)[0].device.type != "cuda":
            return self._function(*inputs)
        key = (kind, *(each.shape for each in inputs))
        if key not in self._captures:
            if self._most is None or len(self._captures) < self._most:
                self._captures[key] = None
            return self._function(*inputs)
        places = tuple(each.data_ptr() for each in state)
        capture = self._captures[key]
        if capture is None or capture.places != places:
            if not any(self._captures.values()):
                gc.collect()  # learners that are gone make room; it takes a seventh of a second
            capture = self._captures[key] = _Capture(self._function, inputs, places)
        return capture.launch(inputs)


class _Capture:
    """One graph, its inputs' places and its result's."""

    def __init__(self, function: Callable[..., Tensor], inputs: Sequence[Tensor], places: tuple[int, ...]) -> None:
        self.places = places
        self._inputs = [each.clone() for each in inputs]
        self._given: list[Tensor] = list(inputs)
        self._graph = torch.cuda.CUDAGraph()
        with _no_collection(), torch.cuda.graph(self._graph):
            self._result = function(*self._inputs)

    def launch(self, inputs: Sequence[Tensor]) -> Tensor:
        for own, given, last in zip(self._inputs, inputs, self._given, strict=True):
            if given is not last:
                own.copy_(given)
        self._given = list(inputs)
        self._graph.replay()
        return self._result.clone()


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect nothing meanwhile: the graph of a learner that is gone, freed during a capture, would break it."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()
