"""Training steps on a CUDA device as graphs: dozens of small kernels behind one launch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Final

import torch
from torch import Tensor

from nlbench.batch import Batch, Learner, Problem

REHEARSED: Final = 64
"""Samples of the batch that is rehearsed on: kernels are compiled for sizes of batches, and this one is common."""


class Replay:
    """A function of tensors that changes a learner's tensors in place, captured on a CUDA device and replayed.

    Its first call of a kind runs as written, which warms up what it uses; the second is captured; a capture is made anew where
    one of the tensors behind it has moved. On other devices every call runs as written. Results are the same to the bit.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self._function = function
        self._captures: dict[Hashable, _Capture | None] = {}

    def __call__(self, state: Sequence[Tensor], *inputs: Tensor, kind: Hashable = None) -> Tensor:
        """The function of the inputs, a fresh tensor. `state` is every tensor it reads or changes besides; calls of one kind, and
        of inputs of one shape, launch the same kernels.
        """
        if (*inputs, *state)[0].device.type != "cuda":
            return self._function(*inputs)
        key = (kind, *(each.shape for each in inputs))
        if key not in self._captures:
            self._captures[key] = None
            return self._function(*inputs)
        places = tuple(each.data_ptr() for each in state)
        capture = self._captures[key]
        if capture is None or capture.places != places:
            capture = self._captures[key] = _Capture(self._function, inputs, places)
        return capture.replay(inputs)


class _Capture:
    """One graph, its inputs' places and its result's."""

    def __init__(self, function: Callable[..., Tensor], inputs: Sequence[Tensor], places: tuple[int, ...]) -> None:
        self.places = places
        self._inputs = [each.clone() for each in inputs]
        self._given: list[Tensor] = list(inputs)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = function(*self._inputs)

    def replay(self, inputs: Sequence[Tensor]) -> Tensor:
        for own, given, last in zip(self._inputs, inputs, self._given, strict=True):
            if given is not last:
                own.copy_(given)
        self._given = list(inputs)
        self._graph.replay()
        return self._result.clone()


def rehearse(learner: Learner, problem: Problem) -> None:
    """On a CUDA device, let a new learner observe one made batch and put it back: what the first step loads or compiles there is
    not timed as training. Elsewhere nothing happens.
    """
    if problem.device.type == "cuda":
        _observe_made(learner, problem)


def _observe_made(learner: Learner, problem: Problem) -> None:
    state = {name: value.clone() for name, value in learner.state_dict().items()}
    seeds, device = len(problem.seeds), problem.device
    inputs = torch.arange(seeds * REHEARSED * problem.n_inputs, device=device).sin().view(seeds, REHEARSED, *problem.input_shape)
    labels = (torch.arange(REHEARSED, device=device) % problem.n_classes).repeat(seeds, 1)
    with torch.no_grad():
        learner.observe(Batch(inputs, labels, torch.ones(problem.n_classes, dtype=torch.bool, device=device), None))
    learner.load_state_dict(state)
