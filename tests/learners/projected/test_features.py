from __future__ import annotations

import pytest
import torch
from small_projected import EXACT, SHAPE, WARM, B, N, S, batch, learner
from torch import Tensor

from nlbench import Batch
from nlbench.errors import NlbenchError


def test_features_turn_into_the_metric_of_the_inputs_once() -> None:
    """Inputs of two groups that each vary as one: white weights ignore the groups, turned weights stay within one."""
    made = learner({**WARM, "keys": {"kind": "random", "width": 40, "warm_up": 3, "locality": 8.0}})
    draw = torch.Generator().manual_seed(0)

    def grouped(step: int) -> Batch:
        own = torch.randn(S, B, 2, generator=draw).repeat_interleave(N // 2, 2) + 0.05 * torch.randn(S, B, N, generator=draw)
        return Batch(own.view(S, B, *SHAPE), batch(step).labels, batch(step).classes, None)

    def crossing() -> Tensor:
        """Return how much of a unit's weight lies outside its main group, for the more local half of the units."""
        shares = made.features.tensors[0][:, 20:].square().unflatten(2, (2, -1)).sum(-1)
        return (shares.amin(-1) / shares.sum(-1)).mean(1)

    white = crossing()
    for step in range(3):
        assert torch.equal(crossing(), white)
        made.observe(grouped(step))
    turned = crossing()
    assert (turned < white / 20).all()
    made.observe(grouped(4))
    assert torch.equal(crossing(), turned)
    assert made.continuum.memories[0].gram[:, -1, -1].tolist() == [2.0 * B] * S  # what was gathered of the white features is gone


def test_images_too_small_for_the_filters_are_refused_with_the_keys_to_change() -> None:
    with pytest.raises(NlbenchError, match=r"images of 8 x 8 are too small for filters of 5 and 4.*smaller keys\.sizes"):
        learner({**EXACT, "keys": {"kind": "convolution", "filters": [3, 4], "sizes": [5, 4], "pools": [2, 3]}})
