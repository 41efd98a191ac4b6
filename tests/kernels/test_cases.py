"""The table of cases: every op has some, edges and ragged sizes among them, each with a name of its own."""

from __future__ import annotations

from pathlib import Path

import torch

from nlbench import kernels
from nlbench.kernels.cases import CASES

OPS = {path.parent.name for path in Path(kernels.__file__).parent.glob("*/reference.py")}


def test_every_op_has_cases_and_every_case_an_op():
    assert {case.op for case in CASES} == OPS


def test_names_are_unique():
    names = [str(case) for case in CASES]
    assert len(names) == len(set(names))


def test_every_op_is_timed_at_some_size():
    assert {case.op for case in CASES if case.timed} == OPS


def test_small_cases_draw_finite_inputs():
    small = [case for case in CASES if not case.timed]
    for case in small:
        tensors = case.inputs(torch.float32)
        assert all(bool(each.isfinite().all()) for each in tensors.values() if each.is_floating_point()), str(case)
    assert len(small) > 50
