from __future__ import annotations

import pytest
from pydantic import ValidationError

from nlbench.learners.generative.config import DgrConfig
from nlbench.plan import resolve


@pytest.mark.parametrize(
    "wrong", [{"hidden": []}, {"hidden": [0]}, {"latent": 0}, {"variance": 0.0}, {"generated": 0}, {"decoder": "normal"}]
)
def test_what_makes_no_generator_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DgrConfig.model_validate({"kind": "dgr", **wrong})
    assert DgrConfig(kind="dgr").hidden == (400, 400)


def test_a_variance_is_of_the_gaussian_decoder() -> None:
    assert DgrConfig(kind="dgr", variance=0.3).variance == 0.3
    with pytest.raises(ValidationError, match='variance: needs decoder = "gaussian"'):
        DgrConfig(kind="dgr", variance=0.3, decoder="bernoulli")


def test_the_decoder_is_said_only_where_it_is_not_the_gaussian_one() -> None:
    """Older runs and their records say no such key, and stay the same."""
    usual, other = DgrConfig(kind="dgr"), DgrConfig(kind="dgr", decoder="bernoulli")
    assert "decoder" not in usual.model_dump(mode="json")
    assert other.model_dump(mode="json") == {**usual.model_dump(mode="json"), "decoder": "bernoulli"}
    assert DgrConfig.model_validate_json(other.model_dump_json()) == other
    assert resolve("dgr", "split-digits", seeds=(0,)).learner.digest == "674fe448f2fc821b"
