"""Work on a CUDA device that need not wait for other work, on streams of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor


class Branches:
    """Streams of a CUDA device, for parts of a step that need not wait for each other; elsewhere parts run as they come.

    What a branch reads or writes must stay referenced until `join`.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self._streams = [_stream(device, number) for number in range(count)] if device.type == "cuda" else []
        self._open: set[int] = set()
        self._used: list[Tensor] = []

    @contextmanager
    def branch(self, number: int, *used: Tensor) -> Iterator[None]:
        """What is launched inside waits for everything launched before it outside, and for this branch's own earlier parts. The
        tensors `used` are kept until `join`.
        """
        if not self._streams:
            yield
            return
        self._open.add(number)
        self._used.extend(used)
        self._streams[number].wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._streams[number]):
            yield

    def wait(self, number: int) -> None:
        """What is launched from here on, outside or in the branch that is open, waits for what was launched in this one."""
        if number in self._open:
            torch.cuda.current_stream().wait_stream(self._streams[number])

    def keep(self, *used: Tensor | None) -> None:
        """Keep the tensors until `join`."""
        if self._streams:
            self._used.extend(each for each in used if each is not None)

    def join(self) -> None:
        """What is launched from here on waits for all branches."""
        for number in self._open:
            torch.cuda.current_stream().wait_stream(self._streams[number])
        self._open.clear()
        self._used.clear()


@cache
def _stream(device: torch.device, number: int) -> torch.cuda.Stream:
    """One stream for every number: torch has 32, and hands them out again when they are used up, so that branches with streams of
    their own in every learner would end up waiting for each other.
    """
    return torch.cuda.Stream(device)
