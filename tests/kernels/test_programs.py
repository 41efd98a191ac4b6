"""Programs run on torch's threads, and leave torch as many as it had."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import torch
from nlbench.kernels.newton_schulz import newton_schulz
before = torch.get_num_threads()
newton_schulz(torch.eye(3), backend="numba")
print(before, torch.get_num_threads())
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_program_leaves_torch_its_number_of_threads(threads: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    result = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [threads, threads]
