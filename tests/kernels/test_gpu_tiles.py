"""What needs no GPU of `gpu_tiles`: how kernels are launched."""

from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from nlbench.kernels import gpu_tiles
from nlbench.kernels.gpu_tiles import Launch, padded


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels count as compiled, whatever the environment says."""
    monkeypatch.setattr(gpu_tiles, "INTERPRETED", False)


class Kernel:
    """Stands in for a Triton kernel: its calls, and those of the compiled kernels that they returned."""

    arg_names = ("input", "output", "tokens", "C")

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.compiled: list[tuple[Any, ...]] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls.append((grid, arguments, options))
            return self

        return call if len(grid) == 1 else lambda *arguments: self.compiled.append((grid, arguments))


def pair(dtype: torch.dtype, offset: int = 0) -> tuple[Tensor, Tensor]:
    return torch.zeros(64, dtype=dtype)[offset:], torch.zeros(64, dtype=dtype)


def test_a_launch_goes_through_triton_once_for_each_kind_of_tensors() -> None:
    kernel = Kernel()
    launch = Launch(kernel, {"C": 16, "other": 3, "tokens": 5}, warps=2, stages=3)
    first, second, third = pair(torch.float32), pair(torch.float32), pair(torch.bfloat16)
    launch(7, *first)
    launch(8, *second)
    launch(9, *third)
    assert [grid for grid, _, _ in kernel.calls] == [(7,), (9,)]
    assert kernel.calls[0][1][2:] == (5, 16)
    assert kernel.calls[0][2] == {"num_warps": 2, "num_stages": 3}
    assert kernel.compiled == [((8, 1, 1), (second[0].data_ptr(), second[1].data_ptr(), 5, 16))]


def test_tensors_between_multiples_of_sixteen_bytes_go_through_triton() -> None:
    kernel = Kernel()
    launch = Launch(kernel, {"C": 16, "tokens": 5}, warps=2, stages=3)
    launch(1, *pair(torch.float32))
    launch(2, *pair(torch.float32, offset=1))
    launch(3, *pair(torch.float32, offset=4))
    assert [grid for grid, _, _ in kernel.calls] == [(1,), (2,)]
    assert [grid for grid, _ in kernel.compiled] == [(3, 1, 1)]


@pytest.mark.parametrize(("size", "expected"), [(0, 16), (1, 16), (16, 16), (17, 32), (64, 64), (65, 128)])
def test_padded_is_the_next_power_of_two_of_at_least_sixteen(size: int, expected: int) -> None:
    assert padded(size) == expected
