"""Training FLOPs are those of the products that are made: by hand for a perceptron, by formula where torch counts nothing."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from nlbench import api
from nlbench.bench.counting import FORMULAS, training_flops
from nlbench.plan import Machine

CPU = Machine(device="cpu")
SAMPLES = 1438
"""Of the training set of digits."""


def counted(model: str, **more: str) -> int:
    values = {"stream.tasks": "1", **{key.replace("__", "."): value for key, value in more.items()}}
    return training_flops(api.resolve(model, "split-digits", seeds=3, overrides=values), CPU)


def test_a_perceptron_takes_two_operations_a_weight_forward_and_four_backward_but_for_the_inputs() -> None:
    per_sample = 2 * (64 * 32 + 32 * 10) + 2 * (64 * 32 + 32 * 10) + 2 * 32 * 10
    assert counted("mlp", learner__hidden="[32]") == SAMPLES * per_sample
    assert counted("mlp", learner__hidden="[32]", protocol__passes="3") == 3 * SAMPLES * per_sample


def test_a_network_of_any_method_takes_the_same_and_what_is_replayed_as_much_again() -> None:
    plain = counted("naive-convolutional", learner__network='{ kind = "mlp", hidden = [32] }')
    assert plain == counted("mlp", learner__hidden="[32]")
    replayed = counted("er", learner__network='{ kind = "mlp", hidden = [32] }', batch="16")
    assert plain < replayed <= 2 * plain


def test_what_is_measured_is_not_counted_and_seeds_do_not_matter() -> None:
    seldom = counted("mlp", protocol__evaluate="final", protocol__evaluate_every="none")
    often = counted("mlp", protocol__evaluate="full", protocol__evaluate_every="32")
    assert seldom == often


def test_the_end_of_a_task_and_training_anew_are_counted() -> None:
    network = '{ kind = "mlp", hidden = [32] }'
    none, ewc = (counted(model, learner__network=network, stream__tasks="2") for model in ("naive-convolutional", "ewc"))
    assert ewc > none
    anew = counted("joint", learner__network=network, stream__tasks="2", protocol__passes="1", batch="16")
    assert anew == pytest.approx(1.5 * none, rel=0.02)  # half the samples, then all of them


@pytest.mark.parametrize(
    ("call", "flops"),
    [
        (lambda a, b: torch.linalg.cholesky(a), 3 * 8**3 / 3),
        (lambda a, b: torch.cholesky_solve(b, a), 3 * 2 * 8**2 * 5),
        (lambda a, b: torch.linalg.solve_triangular(a.tril(), b, upper=False), 3 * 8**2 * 5),
        (lambda a, b: torch.linalg.eigh(a), 3 * 9 * 8**3),
        (lambda a, b: torch.linalg.svd(b, full_matrices=False), 3 * (6 * 8 * 25 + 20 * 125)),
        (lambda a, b: torch.linalg.qr(b), 3 * (4 * 8 * 25 - 4 / 3 * 125)),
        (lambda a, b: a.baddbmm_(a, a), 3 * 2 * 8**3),
        (lambda a, b: a[0].clone().addmm_(a[0], a[0]), 2 * 8**3),
        (lambda a, b: a[0] @ b[0, :, 0], 2 * 8**2),
        (lambda a, b: a[0].clone().addbmm_(a, a), 3 * 2 * 8**3),
        (lambda a, b: torch.einsum("sij,sjk->sik", a, b), 3 * 2 * 8 * 8 * 5),
        (lambda a, b: torch.cholesky_inverse(a), 3 * 2 / 3 * 8**3),
    ],
)
def test_factorisations_and_solutions_are_counted_by_their_leading_terms(call, flops: float) -> None:
    a, b = torch.eye(8).expand(3, 8, 8).contiguous(), torch.randn(3, 8, 5)
    with FlopCounterMode(display=False, custom_mapping=dict(FORMULAS)) as counter:
        call(a, b)
    assert counter.get_total_flops() == pytest.approx(flops, abs=1)
