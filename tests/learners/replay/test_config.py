from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from nlbench.learners.replay.config import DerConfig, ErConfig, IcarlConfig


def test_configs_load_no_torch() -> None:
    code = "import sys, nlbench.learners.replay.config\nassert not {'torch', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("values", [{"capacity": 0}, {"replayed": 0}, {"policy": "newest"}])
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ErConfig.model_validate({"kind": "er", **values})
    with pytest.raises(ValidationError):
        DerConfig.model_validate({"kind": "der", "alpha": -1.0})


def test_herding_ranks_have_room_for_so_many_exemplars_and_no_more() -> None:
    assert IcarlConfig.model_validate({"kind": "icarl", "capacity": 32768}).capacity == 32768
    with pytest.raises(ValidationError, match="less than or equal to 32768"):
        IcarlConfig.model_validate({"kind": "icarl", "capacity": 32769})
