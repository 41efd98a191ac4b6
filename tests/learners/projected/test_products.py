"""A learner with every product of parts learns what it learns with torch's; a GPU runs the same kernels at full size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")


@pytest.mark.slow
def test_products_of_parts_follow_whatever_changes_a_memory_or_what_it_protects() -> None:
    program = Path(__file__).with_name("interpreted_projected.py")
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    result = subprocess.run([sys.executable, program], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    errors = {found["table"]: found["error"] for found in map(json.loads, result.stdout.splitlines())}
    assert len(errors) == 2
    assert max(errors.values()) < 1e-5, errors
