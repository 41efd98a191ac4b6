"""Elsewhere than on a GPU, branches run as they come and keep nothing; on one, what joins has waited."""

from __future__ import annotations

import pytest
import torch

from nlbench.kernels.branches import Branches


def test_on_a_cpu_parts_run_in_order_and_nothing_is_kept():
    branches, ran = Branches(3, torch.device("cpu")), []
    with branches.branch(1, torch.zeros(1)):
        ran.append(1)
    branches.wait(1)
    branches.keep(torch.zeros(1), None)
    branches.join()
    assert (ran, branches._used, branches._open) == ([1], [], set())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_comes_after_join_sees_what_branches_wrote():
    device = torch.device("cuda")
    branches, found = Branches(2, device), []
    for _ in range(20):
        a = torch.zeros(1 << 22, device=device)
        for number in (0, 1):
            with branches.branch(number, a):
                for _ in range(20):
                    a[number::2] += 1
        branches.join()
        found.append(a.sum())
        assert not branches._used
    assert {int(total) for total in found} == {20 << 22}
