"""The rule that backends are judged by: errors beside what plain torch loses, gradients too, and NaN never passes."""

from __future__ import annotations

import pytest
import torch

from nlbench.kernels import judging
from nlbench.kernels.judging import SLACK, Case, Draw, compared, judge


def make(draw: Draw, n: int) -> dict[str, torch.Tensor]:
    return {"x": draw.normal(n), "index": draw.integers(n, n)}


def call(tensors, backend, fault: float = 0.0):
    x = tensors["x"]
    return {"y": x.square().cumsum(0) * (1 if backend == "reference" else 1 + fault)}


CASE = Case("square", "plain", make, call, {"n": 50})


def test_a_case_draws_the_same_numbers_on_every_call_and_rounds_them():
    first, again = CASE.inputs(torch.float64), CASE.inputs(torch.float32)
    assert torch.equal(first["x"].float(), again["x"])
    assert again["index"].dtype == torch.int64
    other = Case("square", "other", make, call, {"n": 50}).inputs(torch.float64)
    assert not torch.equal(first["x"], other["x"])


def test_outputs_and_gradients_are_judged():
    judged = list(judge(CASE, "numba"))
    assert [each.tensor for each in judged] == ["y", "d x"]
    assert all(each.passed for each in judged)


@pytest.mark.parametrize("fault", [1e-3, float("nan")])
def test_a_fault_of_a_backend_fails(fault):
    faulty = Case("square", "plain", make, call, {"n": 50}, options={"fault": fault})
    assert not any(each.passed for each in judge(faulty, "numba"))


def test_the_allowance_is_what_plain_torch_loses_and_some_roundings():
    exact = {"y": torch.tensor([1.0, 4.0], dtype=torch.float64)}
    plain, found = {"y": torch.tensor([1.0, 4.4])}, {"y": torch.tensor([1.0, 3.0])}
    (judged,) = compared(exact, plain, found, torch.float32)
    assert judged.error == pytest.approx(0.25)
    floor = judging.FLOOR_ROUNDINGS * torch.finfo(torch.float32).eps
    assert judged.allowed == pytest.approx(SLACK * 0.1 + floor, rel=1e-6)


def test_an_op_that_changes_its_arguments_changes_copies():
    def grows(tensors, backend):
        tensors["x"].add_(1)
        return {"x": tensors["x"].clone()}

    case = Case("grow", "plain", make, grows, {"n": 5}, differentiable=False)
    tensors = case.inputs(torch.float32)
    before = tensors["x"].clone()
    run = case.prepared(tensors, "reference")
    run(), run()
    assert torch.equal(tensors["x"], before)


def test_only_a_case_that_states_its_work_is_timed():
    assert not CASE.timed
    assert Case("square", "plain", make, call, {"n": 5}, flops=1.0).timed
