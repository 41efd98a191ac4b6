from __future__ import annotations

import pytest
from pydantic import ValidationError

from nlbench.learners.penalties.config import EwcConfig, LwfConfig, RwalkConfig, SiConfig


def test_decay_is_of_the_online_form() -> None:
    assert EwcConfig(kind="ewc", terms="online", decay=0.9).decay == 0.9
    with pytest.raises(ValidationError, match='decay: needs terms = "online"'):
        EwcConfig(kind="ewc", decay=0.9)


def test_a_strength_is_not_negative_and_a_damping_positive() -> None:
    assert LwfConfig(kind="lwf", strength=0.0).strength == 0
    for wrong in ({"strength": -1.0}, {"damping": 0.0}):
        with pytest.raises(ValidationError):
            SiConfig(kind="si", **wrong)
    with pytest.raises(ValidationError):
        RwalkConfig(kind="rwalk", forget=0.0)
