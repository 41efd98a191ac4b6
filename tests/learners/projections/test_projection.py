from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from numpy_mlp import learner

from nlbench import catalog
from nlbench.batch import needs
from nlbench.errors import NlbenchError
from nlbench.learners.projections.projection import met, projected


@pytest.mark.parametrize(("size", "stride", "side"), [(3, 1, 6), (3, 2, 7), (1, 2, 6)])
def test_patches_are_what_a_convolution_multiplies(size: int, stride: int, side: int) -> None:
    draw = torch.Generator().manual_seed(0)
    x, weight = torch.randn(2, 5, 3, side, side, generator=draw), torch.randn(2, 4, 3, size, size, generator=draw)
    bias = torch.randn(2, 4, generator=draw)
    y = torch.stack([F.conv2d(x[s], weight[s], bias[s], stride, size // 2) for s in range(2)])
    patches = met(x, y, weight, bias=True)
    found = torch.einsum("sbpd,sod->sbop", patches, torch.cat([weight.flatten(2), bias[..., None]], -1))
    torch.testing.assert_close(found, y.flatten(3), rtol=1e-4, atol=1e-4)


def test_a_projected_gradient_changes_no_answer_to_what_the_projector_takes_to_zero() -> None:
    draw = torch.Generator().manual_seed(0)
    gradients = {"a.weight": torch.randn(2, 4, 5, generator=draw), "a.bias": torch.randn(2, 4, generator=draw)}
    inputs = met(torch.randn(2, 3, 5, generator=draw), torch.empty(2, 3, 4), gradients["a.weight"], bias=True)
    q = torch.linalg.qr(inputs.mT).Q
    found = projected(gradients, "a", torch.eye(6) - q @ q.mT)
    answers = inputs[..., :-1] @ found["a.weight"].mT + found["a.bias"][:, None]
    torch.testing.assert_close(answers, torch.zeros(2, 3, 4), rtol=0, atol=1e-5)
    without = projected({"a.weight": gradients["a.weight"]}, "a", torch.eye(5).repeat(2, 1, 1))
    assert torch.equal(without["a.weight"], gradients["a.weight"])


@pytest.mark.parametrize(
    ("network", "head"), [({"kind": "mlp"}, "cosine"), ({"kind": "resnet18", "width": 4}, "one")], ids=["cosine", "norms"]
)
def test_layers_that_do_not_multiply_are_refused_by_name(network: dict, head: str) -> None:
    from nlbench import Problem
    from nlbench.learners.building import build

    config = catalog.config("learners", "owm").model_validate({"kind": "owm", "network": network, "head": head})
    with pytest.raises(NlbenchError, match="needs layers that multiply, and"):
        build(config, Problem((1, 8, 8), 4, (0,), "class-il", torch.device("cpu"), "auto", 5))


@pytest.mark.parametrize("kind", ["owm", "gpm"])
def test_the_catalog_says_what_the_class_needs_and_keeps(kind: str) -> None:
    assert catalog.needs(kind) == needs(type(learner(kind)))
    assert catalog.keeps(kind)


@pytest.mark.parametrize("kind", ["owm", "gpm"])
def test_it_beats_plain_fine_tuning_on_split_digits(kind: str) -> None:
    from small_streams import declared_stream, problem_of, rows_of, values

    from nlbench.learners.building import build

    told = {"evaluate": "final", "boundaries": True}
    stream = declared_stream("split", (0, 1, 2), tasks=5, scenario="class-il", protocol=told)
    scores = []
    for name in (kind, "naive"):
        table = {"kind": name, "network": {"kind": "mlp", "hidden": [64]}, "optimizer": {"kind": "sgd", "rate": 0.3}}
        rows = rows_of(build(catalog.config("learners", name).model_validate(table), problem_of(stream)), stream)
        scores.append([sum(values(rows, "accuracy", seed)[5, task] for task in range(1, 6)) / 5 for seed in stream.seeds])
    assert all(ours > plain + 0.2 for ours, plain in zip(*scores, strict=True))
