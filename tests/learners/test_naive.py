from __future__ import annotations

import pytest
import torch
from small_streams import declared_stream, problem_of, rows_of, values

from nlbench.learners.config import MlpConfig
from nlbench.learners.gradient_config import NaiveConfig
from nlbench.learners.mlp import Mlp
from nlbench.learners.naive import Naive

STREAM = {"tasks": 5, "scenario": "class-il", "class_order": "natural"}


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_it_is_kind_mlp_on_split_digits(momentum: float) -> None:
    """The same draws, order and steps: numbers differ by rounding, accuracies by a sample at most."""
    stream = declared_stream("split", (0, 1, 2), tasks=5, scenario="class-il")
    optimizer = {"kind": "sgd", "rate": 0.05, "momentum": momentum}
    network = {"kind": "mlp", "hidden": [32, 16]}
    ours = Naive(NaiveConfig.model_validate({"kind": "naive", "network": network, "optimizer": optimizer}), problem_of(stream))
    theirs = Mlp(MlpConfig(kind="mlp", hidden=(32, 16), rate=0.05, momentum=momentum), problem_of(stream))
    start = [value for pair in zip(theirs.weights, theirs.biases, strict=True) for value in pair]
    assert all(torch.equal(one, other) for one, other in zip(ours.parameters.values(), start, strict=True))
    rows, wanted = rows_of(ours, stream), rows_of(theirs, stream)
    for seed in stream.seeds:
        found, expected = (values(each, "accuracy", seed) for each in (rows, wanted))
        assert found.keys() == expected.keys()
        for place, value in found.items():
            assert value == pytest.approx(expected[place], abs=1.5 / 60)
    for one, other in zip(ours.parameters.values(), start, strict=True):
        torch.testing.assert_close(one.detach(), other, rtol=1e-3, atol=1e-4)
