"""Every backend that runs here, on every case of the table, by the table's own rule."""

import numpy as np
import pytest
import torch

from nlbench.kernels.backends import available_backends, implementation
from nlbench.kernels.cases import CASES
from nlbench.kernels.judging import Case, judge

PAIRS = [
    pytest.param(case, backend, id=f"{case}-{backend}")
    for case in CASES
    if not case.timed
    for backend in available_backends(case.op, torch.empty(0))
    if backend != "reference"
]


@pytest.fixture(autouse=True)
def _poisoned(case: Case, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays handed to a kernel to fill hold NaN."""
    module = implementation(f"nlbench.kernels.{case.op}", backend, torch.empty(0))
    if not hasattr(module, "empty"):  # an op that only changes its arguments
        return
    empty = module.empty

    def poisoned(shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
        array = empty(shape, like)
        array.fill(np.nan)
        return array

    monkeypatch.setattr(module, "empty", poisoned)


@pytest.mark.parametrize(("case", "backend"), PAIRS)
def test_errors_stay_within_what_plain_torch_makes(case: Case, backend: str) -> None:
    judgements = list(judge(case, backend))
    failed = [f"{each.tensor}: {each.error:.2e} > {each.allowed:.2e}" for each in judgements if not each.passed]
    assert judgements
    assert not failed, failed


@pytest.mark.parametrize(("case", "backend"), PAIRS)
def test_a_seed_alone_gives_the_same_bits(case: Case, backend: str) -> None:
    tensors = case.inputs(torch.float32)
    seeds = case.sizes.get("S", 1)
    shared = {name for name, each in tensors.items() if not each.ndim or each.shape[0] != seeds}
    together = case.run(tensors, backend, gradients=False)
    alone = case.run(
        {name: each if name in shared else each[-1:].clone() for name, each in tensors.items()}, backend, gradients=False
    )
    for name, each in alone.items():
        assert torch.equal(each[-1], together[name][-1]), name
