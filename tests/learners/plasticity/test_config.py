from __future__ import annotations

import pytest
from pydantic import ValidationError

from nlbench.learners.plasticity.config import ContinualBackpropConfig, ShrinkAndPerturbConfig, UpgdConfig


def test_shares_lie_in_0_to_1_and_a_decay_below_1() -> None:
    assert ShrinkAndPerturbConfig(kind="shrink-and-perturb", keep=1.0, noise=0.0).keep == 1
    with pytest.raises(ValidationError):
        ShrinkAndPerturbConfig(kind="shrink-and-perturb", keep=1.1)
    with pytest.raises(ValidationError):
        ContinualBackpropConfig(kind="continual-backprop", replaced=-0.1)
    with pytest.raises(ValidationError):
        UpgdConfig(kind="upgd", decay=1.0)
