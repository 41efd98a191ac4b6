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


@pytest.mark.parametrize("threads", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_a_program_leaves_torch_its_number_of_threads(threads: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    result = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [threads, threads]


STEPS = """
import numba
import torch
from nlbench.kernels.mlp_logits import mlp_logits
from nlbench.kernels.mlp_step import mlp_step
from nlbench.kernels.programs import SMALL
seeds, batch, width = 2, 8, 16
classes, labels = torch.ones(width, dtype=torch.bool), torch.zeros(seeds, batch, dtype=torch.int64)
most = SMALL // (seeds * batch * width)
for count, op in ((most // 3, "step"), (most // 3 + 1, "step"), (most, "logits"), (most + 1, "logits")):
    weights, biases, inputs = [torch.zeros(seeds, width, count)], [torch.zeros(seeds, width)], torch.zeros(seeds, batch, count)
    if op == "step":
        mlp_step(weights, biases, inputs, labels, classes, rate=0.1, backend="numba")
    else:
        mlp_logits(weights, biases, inputs, backend="numba")
    print(numba.get_num_threads())
"""


def test_work_too_small_for_two_threads_is_done_by_one() -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    result = subprocess.run([sys.executable, "-c", STEPS], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["1", "2", "1", "2"]
