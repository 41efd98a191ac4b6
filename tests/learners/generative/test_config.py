from __future__ import annotations

import pytest
from pydantic import ValidationError

from nlbench.learners.generative.config import DgrConfig


@pytest.mark.parametrize("wrong", [{"hidden": []}, {"hidden": [0]}, {"latent": 0}, {"variance": 0.0}, {"generated": 0}])
def test_what_makes_no_generator_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DgrConfig.model_validate({"kind": "dgr", **wrong})
    assert DgrConfig(kind="dgr").hidden == (400, 400)
