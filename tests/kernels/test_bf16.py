"""Products in bfloat16: errors by the kernels' rule, bounds from its rounding, and nothing but products in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nlbench.kernels.cases import CASES
from nlbench.kernels.judging import Case, compared
from nlbench.kernels.mlp_logits import mlp_logits
from nlbench.kernels.mlp_step import mlp_step

ROUNDING = torch.finfo(torch.bfloat16).eps / 2
WITHOUT_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
PERCEPTRONS = [case for case in CASES if case.op in ("mlp_step", "mlp_logits") and not case.timed]


@pytest.mark.parametrize("case", PERCEPTRONS, ids=str)
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, WITHOUT_GPU])])
def test_errors_stay_within_what_plain_torch_makes_in_bfloat16(case: Case, device: str) -> None:
    rounded = case.inputs(torch.bfloat16, device)
    wide = {name: each.float() if each.is_floating_point() else each for name, each in rounded.items()}
    exact = case.run({name: each.double() if each.is_floating_point() else each for name, each in wide.items()}, "reference")
    asked = replace(case, options={**case.options, "precision": "bf16"})
    judgements = list(compared(exact, case.run(rounded, "reference"), asked.run(wide, "auto"), torch.bfloat16))
    assert judgements
    assert not [each for each in judgements if not each.passed]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_one_layer_keeps_the_bounds_of_its_roundings(momentum: float) -> None:
    """To first order in the rounding u, with 5 % for the rest. A logit is a rounded sum of products of two rounded factors:
    3 u Σ |x w|. The softmax moves by at most half of what its logits move; a change of a weight is again a rounded sum of
    products. Weights of float32 take over changes far below their own bfloat16 spacing.
    """
    S, B, D, C, rate = 2, 40, 30, 6, 1e-4
    draw = torch.Generator().manual_seed(0)
    x, weight, bias = (torch.randn(shape, generator=draw) for shape in ((S, B, D), (S, C, D), (S, C)))
    velocity, labels = torch.randn(S, C, D, generator=draw), torch.randint(C, (S, B), generator=draw)
    classes = torch.ones(C, dtype=torch.bool)

    def stepped(dtype: torch.dtype, precision: str) -> tuple[Tensor, ...]:
        own = [each.to(dtype, copy=True) for each in (weight, bias, velocity, torch.zeros(S, C))]
        kept = {"weight_velocities": [own[2]], "bias_velocities": [own[3]]} if momentum else {}
        loss = mlp_step(
            own[:1], own[1:2], x.to(dtype), labels, classes, rate=rate, momentum=momentum, **kept, precision=precision
        )
        return loss, own[0] - weight, own[1] - bias

    exact = stepped(torch.float64, "float32")
    found = stepped(torch.float32, "bf16")
    assert all(each.dtype == torch.float32 for each in found)
    u, single = 1.05 * ROUNDING, torch.finfo(torch.float32).eps
    size = x.double().abs() @ weight.double().abs().mT
    moved = 3 * u * size.amax(2)
    delta = (x.double() @ weight.double().mT + bias.double()[:, None]).softmax(2)
    delta = (delta - torch.nn.functional.one_hot(labels, C)) / B
    drift = (moved / 2 / B)[..., None].expand_as(delta)
    bounds = (
        2 * moved.mean(1),
        rate * ((drift + 3 * u * delta.abs()).mT @ x.double().abs()) + single * weight.abs(),
        rate * drift.sum(1) + single * bias.abs(),
    )
    for ours, wanted, bound in zip(found, exact, bounds, strict=True):
        assert ((ours - wanted).abs() <= bound).all()
    least = torch.finfo(torch.bfloat16).eps * weight.abs() / 4
    assert (exact[1].abs() < least).double().mean() > 0.9  # all would be lost in weights of bfloat16
    assert (found[1] != 0).double().mean() > 0.9
    assert ((found[0] - exact[0]).abs() > 100 * single * exact[0].abs()).all()  # the products were made in bfloat16


def test_velocities_are_not_rounded() -> None:
    """Inputs of zero have no gradient: what is left of the weights' step is the velocity's."""
    weight, velocity = torch.randn(2, 1, 3, 5, generator=torch.Generator().manual_seed(2))
    moved, kept = weight.clone(), velocity.clone()
    mlp_step(
        [moved],
        [torch.zeros(1, 3)],
        torch.zeros(1, 4, 5),
        torch.zeros(1, 4, dtype=torch.int64),
        torch.ones(3, dtype=torch.bool),
        rate=0.5,
        momentum=0.5,
        weight_velocities=[kept],
        bias_velocities=[torch.zeros(1, 3)],
        precision="bf16",
    )
    assert torch.equal(kept, velocity / 2)
    assert torch.equal(moved, weight - velocity / 4)


def test_logits_keep_the_bounds_of_their_roundings_and_biases_are_not_rounded() -> None:
    draw = torch.Generator().manual_seed(1)
    x, weight = torch.randn(1, 50, 30, generator=draw), torch.randn(2, 6, 30, generator=draw)
    bias = torch.full((2, 6), 1 + 2.0**-20)
    found = mlp_logits([weight], [bias], x, precision="bf16")
    exact = x.double() @ weight.double().mT + bias.double()[:, None]
    assert found.dtype == torch.float32
    assert ((found - exact).abs() <= 3.15 * ROUNDING * (x.double().abs() @ weight.double().abs().mT)).all()
    nothing = mlp_logits([torch.zeros_like(weight)], [bias], x, precision="bf16")
    assert torch.equal(nothing, bias[:, None].expand_as(nothing))


def test_a_seed_alone_gives_the_same_numbers_to_bfloat16_rounding() -> None:
    case = next(each for each in PERCEPTRONS if each.name == "digits")
    tensors = case.inputs(torch.float32)
    asked = replace(case, options={**case.options, "precision": "bf16", "steps": 1})
    together = asked.run(tensors, "auto")
    alone = asked.run({name: each if name == "classes" else each[-1:].clone() for name, each in tensors.items()}, "auto")
    for name, each in alone.items():
        assert torch.allclose(each[-1], together[name][-1], rtol=0, atol=4 * ROUNDING * float(each.abs().max())), name
