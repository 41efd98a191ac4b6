from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from nlbench.learners.replay.config import DerConfig, ErConfig


def test_configs_load_no_torch() -> None:
    code = "import sys, nlbench.learners.replay.config\nassert not {'torch', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("values", [{"capacity": 0}, {"replayed": 0}, {"policy": "newest"}])
def test_values_out_of_range_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ErConfig.model_validate({"kind": "er", **values})
    with pytest.raises(ValidationError):
        DerConfig.model_validate({"kind": "der", "alpha": -1.0})
