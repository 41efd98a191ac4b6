from __future__ import annotations

import torch
from small_streams import declared_stream

from nlbench.streams.derived import Derived


def test_a_derived_stream_is_the_other_one_in_all_that_a_run_asks_for() -> None:
    stream = declared_stream("permuted", [0, 1], tasks=3)
    derived = Derived(stream)
    for name in ("declared", "seeds", "device", "n_tasks", "n_classes", "input_shape", "scenario", "sample", "mixes_tasks"):
        assert getattr(derived, name) == getattr(stream, name), name
    for task in (1, 2, 3):
        assert derived.train_size(task) == stream.train_size(task)
        assert torch.equal(derived.pixel_order(task), stream.pixel_order(task))
        assert torch.equal(derived.task_classes(task), stream.task_classes(task))
        for part in ("train", "test"):
            mine, its = (one.ordered(getattr(one, part)(task), task).take(torch.arange(5)[None]) for one in (derived, stream))
            assert torch.equal(mine[0], its[0])
            assert torch.equal(mine[1], its[1])
