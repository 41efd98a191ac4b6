"""A declared stream is built by the class of its kind; what is no stream is refused."""

from __future__ import annotations

import pytest
import torch

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.plan import resolve
from nlbench.streams.building import build, find
from nlbench.streams.split import SplitStream
from nlbench.streams.whole import PermutedStream


def test_the_kind_decides_the_class():
    stream = build(resolve("chance", "split-digits", seeds=[0, 3]).declared, [0, 3], torch.device("cpu"))
    assert type(stream) is SplitStream
    assert (stream.seeds, stream.n_tasks) == ((0, 3), 5)
    assert find("permuted") is PermutedStream


def test_what_is_none_is_named():
    with pytest.raises(UnknownNameError, match="permuted"):
        find("permutde")
    with pytest.raises(NlbenchError, match=r"must be a subclass of nlbench\.Stream"):
        find("nlbench.plan:Plan")
