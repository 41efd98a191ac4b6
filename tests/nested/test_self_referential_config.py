"""What the settings of self-referential Titans mean, and which they refuse."""

import pytest

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.nested.self_referential import SelfReferential, SelfReferentialConfig


def test_l2_rate_cap_shrinks_with_the_memorys_own_chunk():
    config = SelfReferentialConfig(chunk=16, outer_chunk=64)
    assert config.rate_cap(16) == 1 / 16
    assert config.rate_cap(64) == 1 / 64
    assert SelfReferentialConfig(objective="dot").rate_cap(64) == 1.0
    assert SelfReferentialConfig(rate_max=0.3).rate_cap(64) == 0.3
    assert SelfReferentialConfig(momentum=0.75).rate_cap(16) == 1 / 64


def test_config_says_what_it_cannot_do():
    with pytest.raises(NlbenchError, match="multiple of chunk"):
        SelfReferentialConfig(chunk=16, outer_chunk=40)
    with pytest.raises(NlbenchError, match="multiple of chunk"):
        SelfReferentialConfig(chunk=1, outer_chunk=0)
    for fields, match in (
        ({"momentum": 1.0}, "momentum: must be in"),
        ({"retain_min": 1.5}, "retain_min: must be in"),
        ({"rate_max": -0.1}, "rate_max"),
        ({"target_clip": 0.0, "truncation": -1}, "target_clip: must be > 0; truncation: must be >= 0"),
    ):
        with pytest.raises(NlbenchError, match=match):
            SelfReferentialConfig(**fields)
    with pytest.raises(UnknownNameError, match="cubic"):
        SelfReferentialConfig(form="cubic")
    with pytest.raises(NlbenchError, match="heads"):
        SelfReferential(10, 3)
