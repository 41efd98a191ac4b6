from __future__ import annotations

import torch
from small_replay import SEEDS, batches, learner


def test_the_network_before_is_that_of_the_last_boundary_and_so_are_old_classes() -> None:
    made = learner("icarl")
    x = batches(3)[0].inputs
    for task in (1, 2):
        for batch in batches(task):
            made.observe(batch)
        assert made.met.sum(1).tolist() == [2] * len(SEEDS)  # type: ignore[attr-defined]
        wanted = made.logits(x, None, training=False).detach()
        made.end_task()
        assert torch.equal(made.before(x), wanted)  # type: ignore[attr-defined]
        assert made.known.sum(1).tolist() == [2 * task] * len(SEEDS)  # type: ignore[attr-defined]
    made.observe(batches(3)[0])
    assert torch.equal(made.before(x), wanted)  # type: ignore[attr-defined]
    assert not torch.equal(made.logits(x, None, training=False), wanted)
