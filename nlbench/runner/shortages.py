"""What a machine that is too small, or that lost its GPU, is told as: one line that says what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nlbench.errors import NlbenchError

LOWER: Final = (
    "Lower the learner's width, the batch (--set batch=…), or how many seeds run at once (--seeds): seeds share the memory."
)


@contextmanager
def shortages_told() -> Iterator[None]:
    """Raise what memory or a GPU that ran out raises as `NlbenchError`, an external learner's failure for this reason too."""
    try:
        yield
    except (MemoryError, RuntimeError, NlbenchError) as error:
        found = _told(error.__cause__ if isinstance(error, NlbenchError) else error)
        if found is None:
            raise
        raise found from error


def _told(error: BaseException | None) -> NlbenchError | None:
    text = " ".join(str(error).split())
    if type(error).__name__ == "OutOfMemoryError" or "CUDA out of memory" in text:
        return NlbenchError("the GPU has not enough memory.", f"{LOWER} Or run it with --device cpu.")
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text):
        return NlbenchError("there is not enough memory.", LOWER)
    if isinstance(error, RuntimeError) and "CUDA error" in text:
        reason = text.partition("CUDA error: ")[2].partition(" CUDA kernel errors")[0] or "no reason given"
        way = "Run it again: what was saved is resumed. If it comes back, look at nvidia-smi, or use --device cpu."
        return NlbenchError(f"the GPU was lost: {reason.rstrip('.')}.", way)
    return None
