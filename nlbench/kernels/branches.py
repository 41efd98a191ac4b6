"""Work on a CUDA device that need not wait for other work, on streams of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Branches:
    """Streams of a CUDA device, for parts of a step that need not wait for each other; elsewhere parts run as they come.

    What a branch reads or writes must stay referenced until `join`.
    """

    def __init__(self, count: int, device: torch.device) -> None:
        self._streams = [torch.cuda.Stream(device) for _ in range(count)] if device.type == "cuda" else []

    def __bool__(self) -> bool:
        return bool(self._streams)

    @contextmanager
    def branch(self, number: int) -> Iterator[None]:
        """What is launched inside waits for everything launched before it outside, and for this branch's own earlier parts."""
        if not self._streams:
            yield
            return
        self._streams[number].wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._streams[number]):
            yield

    def join(self) -> None:
        """What is launched from here on waits for all branches."""
        for stream in self._streams:
            torch.cuda.current_stream().wait_stream(stream)
