"""A trial step leaves nothing behind; tests of learners try one on the CPU."""

import pytest
import torch

import nlbench
from nlbench import runner
from nlbench.plan import Machine
from nlbench.state import STRUCTURE


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("model", ["mlp", "naive-convolutional", "projected-levels", "turned-features"])
def test_a_trial_step_leaves_nothing_behind(model: str) -> None:
    plan = nlbench.resolve(model, "permuted-digits", seeds=2)
    there, here = (runner.prepare(plan, Machine(device=device))[1].state_dict() for device in ("cuda", "cpu"))
    for name, expected in here.items():
        if name == STRUCTURE:  # says on which device a tensor lies
            continue
        torch.testing.assert_close(
            there[name].cpu(), expected, rtol=1e-5, atol=1e-6
        )  # logarithms of draws differ by their last bit
