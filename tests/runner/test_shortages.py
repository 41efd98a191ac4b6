"""A machine that is too small is one line that says what to lower."""

from __future__ import annotations

import pytest
import torch

from nlbench import NlbenchError
from nlbench.errors import Blamed
from nlbench.runner import shortages_told

LOST = "CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later\nCompile with x"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "there is not enough memory. Lower the learner's width, the batch"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "there is not enough memory. Lower"),
        (torch.cuda.OutOfMemoryError("CUDA out of memory. Tried"), "the GPU has not enough memory. Lower the learner's width"),
        (RuntimeError(LOST), "the GPU was lost: unspecified launch failure. Run it again: what was saved is resumed."),
    ],
)
def test_what_ran_out_is_said_with_what_to_lower_whoever_asked_for_it(error: Exception, line: str) -> None:
    with pytest.raises(NlbenchError) as caught, shortages_told():
        raise error
    assert str(caught.value).startswith(line)
    with pytest.raises(NlbenchError) as caught, shortages_told(), Blamed("mine.py:L.observe"):
        raise error
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), NlbenchError("other"), KeyError("x")])
def test_anything_else_is_left_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, shortages_told():
        raise error
    assert caught.value is error


def test_memory_that_is_not_there_is_told_so() -> None:
    with pytest.raises(NlbenchError, match="not enough memory"), shortages_told():
        torch.empty(1 << 55)
