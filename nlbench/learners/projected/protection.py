"""What the grams of memories protect, brought up to date; on a GPU beside each other, in one launch."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from nlbench.kernels.graphs import Captured
from nlbench.kernels.metric_update import protecting_at_once
from nlbench.learners.projected.memory import Memory


class Protection:
    """The projections of those memories that protect what they were written with."""

    def __init__(self, memories: Sequence[Memory]) -> None:
        self._memories = [memory for memory in memories if memory.protected]
        self._captured = Captured(self.at_once)

    def renew(self) -> None:
        """Bring all of them up to date. Raises `NlbenchError` for a gram that is not positive definite."""
        missing = self._memories
        if missing and missing[0].gram.device.type == "cuda":
            held = [memory.gram for memory in missing] + [memory.projection for memory in missing]
            failed = self._captured(held).tolist()
            missing = [memory for memory, minor in zip(missing, failed, strict=True) if minor]
        for memory in missing:
            memory.protect()
        for memory in self._memories:
            memory.renew_projection()

    def at_once(self) -> Tensor:
        """Bring all of them up to date without waiting for the device; return where each failed, or 0."""
        grams, ridges = [memory.gram for memory in self._memories], [memory.writing.ridge for memory in self._memories]
        found, failed = protecting_at_once(grams, ridges)
        for memory, projection in zip(self._memories, found, strict=True):
            memory.projection.copy_(projection)
        return failed
