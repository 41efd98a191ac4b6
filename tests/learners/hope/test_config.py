from __future__ import annotations

import pytest
from pydantic import ValidationError

from nlbench import catalog
from nlbench.learners.hope.config import HopeConfig
from nlbench.specs import read_table


@pytest.mark.parametrize(
    "table", [{"contexts": 0}, {"hazard": 1.0}, {"decay": 0.0}, {"least": 0.0}, {"metric": "pixels"}, {"ridge": 0.0}, {"keys": 3}]
)
def test_what_has_no_meaning_is_refused(table):
    with pytest.raises(ValidationError):
        HopeConfig.model_validate({"kind": "hope", **table})


def test_the_recipe_is_one_for_every_stream_and_writes_what_the_config_holds():
    table = read_table(catalog.find("model", "hope"))
    assert "on" not in table
    assert HopeConfig.model_validate(table["learner"]) == HopeConfig(kind="hope")
