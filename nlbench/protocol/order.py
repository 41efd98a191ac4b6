"""Permuted pixels without permuting an image: the learner's first layer moves instead, where it can."""

from __future__ import annotations

from torch import Tensor

from nlbench.batch import Learner
from nlbench.streams.stream import Samples, Stream


class PixelOrder:
    """In whose pixel order a learner's first layer stands: its own (0), or a task's.

    A learner in its own order computes sum_i W[i] x[order[i]] = sum_p W[inverse[p]] x[p]: weights move, images do not. Where a
    learner has no `permute_inputs`, where one batch mixes tasks, or where moving would tell somebody else's learner of boundaries
    that it is not to know, the images are permuted as they are read, and nothing moves here.
    """

    def __init__(self, learner: Learner, stream: Stream, *, mixed: bool) -> None:
        self._learner = learner
        self._stream = stream
        self._moves = hasattr(learner, "permute_inputs") and stream.pixel_order(1) is not None and not mixed
        self._shown = 0

    def samples(self, samples: Samples, task: int) -> Samples:
        """Return a task's samples as they are fed: in the data's own order where the learner moves, otherwise in the task's."""
        return samples if self._moves else self._stream.ordered(samples, task)

    def shown(self, inputs: Tensor, task: int) -> Tensor:
        """Return inputs (1 or S, N, *input_shape) that are fed of a task as the task shows them."""
        order = self._stream.pixel_order(task) if self._moves else None
        if order is None:
            return inputs
        flat = inputs.flatten(2).expand(len(order), -1, -1)
        return flat.gather(2, order[:, None].expand_as(flat)).unflatten(2, inputs.shape[2:])

    def show(self, task: int) -> None:
        """Put the first layer into the pixel order of `task`, so that samples as they are fed can be; 0 puts it back."""
        if not self._moves or task == self._shown:
            return
        back = self._stream.pixel_order(self._shown) if self._shown else None
        there = self._stream.pixel_order(task) if task else None
        order = there.argsort(1) if there is not None else None
        if back is not None:
            order = back.gather(1, order) if order is not None else back
        self._learner.permute_inputs(order)  # type: ignore[attr-defined]
        self._shown = task
