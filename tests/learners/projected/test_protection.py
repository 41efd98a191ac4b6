from __future__ import annotations

import pytest
import torch
from small_projected import LEVELS, taught

from nlbench import NlbenchError
from nlbench.learners.projected.protection import Protection


def test_metrics_inverted_beside_each_other_protect_the_same_and_one_that_fails_is_known() -> None:
    """As on a GPU."""
    made = taught({**LEVELS, "refresh": 100}, steps=9)
    memories = made.continuum.memories
    protection = Protection(memories)
    for memory in memories:
        memory.projection.zero_()
    failed = protection.at_once()
    found = [memory.projection.clone() for memory in memories]
    protection.renew()
    assert failed.tolist() == [0, 0, 0]
    for own, expected in zip(found, (memory.projection for memory in memories), strict=True):
        torch.testing.assert_close(own, expected, atol=1e-6, rtol=1e-5)
    memories[1].gram[1, 4, 4] = torch.nan
    assert protection.at_once()[1] > 0
    with pytest.raises(NlbenchError, match="not positive definite"):
        protection.renew()
