import pytest
import torch

from nlbench.kernels.threads import program_threads, single_torch_thread


def test_torch_is_left_one_thread_and_programs_all_and_both_come_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    assert program_threads() == 2
    with single_torch_thread():
        assert torch.get_num_threads() == 1
        assert program_threads() == 2
    assert torch.get_num_threads() == program_threads() == 2
    with pytest.raises(ValueError, match="inside"), single_torch_thread():
        raise ValueError("inside")
    assert torch.get_num_threads() == program_threads() == 2
    torch.set_num_threads(1)
    assert program_threads() == 1
    torch.set_num_threads(before)
