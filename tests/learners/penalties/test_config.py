from __future__ import annotations

import pytest
from pydantic import ValidationError

from nlbench.learners.penalties.config import EwcConfig, LwfConfig, RwalkConfig, SiConfig
from nlbench.plan import resolve


def test_decay_is_of_the_online_form() -> None:
    assert EwcConfig(kind="ewc", terms="online", decay=0.9).decay == 0.9
    with pytest.raises(ValidationError, match='decay: needs terms = "online"'):
        EwcConfig(kind="ewc", decay=0.9)


def test_the_fisher_information_is_said_only_where_it_is_not_the_exact_one() -> None:
    """Older runs and their records say no such key, and stay the same."""
    usual = EwcConfig(kind="ewc")
    assert "fisher" not in usual.model_dump(mode="json")
    assert EwcConfig(kind="ewc", fisher="exact").model_dump() == usual.model_dump()
    other = EwcConfig(kind="ewc", fisher="likeliest")
    assert other.model_dump(mode="json") == {**usual.model_dump(mode="json"), "fisher": "likeliest"}
    assert EwcConfig.model_validate_json(other.model_dump_json()) == other
    with pytest.raises(ValidationError):
        EwcConfig(kind="ewc", fisher="empirical")


@pytest.mark.parametrize(("name", "digest"), [("ewc", "52df8fe992e01209"), ("ewc-online", "f9f437281e93611d")])
def test_recipes_of_before_keep_their_digests(name: str, digest: str) -> None:
    assert resolve(name, "split-digits", seeds=(0,)).learner.digest == digest


def test_a_strength_is_not_negative_and_a_damping_positive() -> None:
    assert LwfConfig(kind="lwf", strength=0.0).strength == 0
    for wrong in ({"strength": -1.0}, {"damping": 0.0}):
        with pytest.raises(ValidationError):
            SiConfig(kind="si", **wrong)
    with pytest.raises(ValidationError):
        RwalkConfig(kind="rwalk", forget=0.0)
