from __future__ import annotations

import pytest
import torch
from small_streams import CPU

from nlbench import Batch, NlbenchError, Problem
from nlbench.learners.gradient_config import NaiveConfig
from nlbench.learners.naive import Naive
from nlbench.networks.config import ValleyConfig
from nlbench.networks.valley import START, Valley

ALL = torch.ones(2, dtype=torch.bool)


def problem(classes: int = 2, seeds: tuple[int, ...] = (0, 1)) -> Problem:
    return Problem((2,), classes, seeds, "domain-il", CPU, "reference", 100, sample="vector")


def test_its_margin_is_how_far_a_place_is_below_what_counts_as_the_floor() -> None:
    made = Valley(ValleyConfig(kind="valley", curvature=10.0, bend=1.0, frequency=1.0, reached=0.01), problem())
    places = torch.tensor([[[0.0, 0.0]], [[2.0, 1.0]]])
    expected = [0.01, 0.01 - 4 - 10 * (1 + torch.sin(torch.tensor(2.0)).item()) ** 2]
    torch.testing.assert_close(made.margin(places)[:, 0, 0], torch.tensor(expected))
    inputs = torch.tensor([[[1.0, 0.3], [-1.0, 0.4]]])
    logits, _ = made.apply({"place": places}, {}, inputs, training=False)
    assert logits.argmax(-1).tolist() == [[1, 0], [0, 1]]  # all right on the floor, all wrong above it


def test_seeds_start_beside_the_paper_s_start_each_at_its_own_place() -> None:
    made = Valley(ValleyConfig(kind="valley"), problem())
    both, alone = made.initial((0, 1))[0]["place"], made.initial((1,))[0]["place"]
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(both[0], both[1])
    exact = Valley(ValleyConfig(kind="valley", spread=0.0), problem()).initial((0,))[0]["place"]
    assert exact.tolist() == [[list(START)]]


@pytest.mark.parametrize(("kind", "rate"), [("momentum", 0.01), ("delta-momentum", 0.03)])
def test_both_rules_come_down_to_the_floor(kind: str, rate: float) -> None:
    table = {"kind": "naive", "network": {"kind": "valley"}, "optimizer": {"kind": kind, "rate": rate}}
    made = Naive(NaiveConfig.model_validate(table), problem())
    batches = [Batch(torch.tensor([[[side, 0.0]]]), torch.tensor([[int(side > 0)]] * 2), ALL, None) for side in (-1.0, 1.0)]
    losses = torch.stack([made.observe(batches[step % 2]) for step in range(600)])
    assert losses[0].min() > 10
    assert losses[-1].max() < 0.7


def test_more_than_two_classes_are_refused() -> None:
    with pytest.raises(NlbenchError, match="tells two classes apart, got 3"):
        Valley(ValleyConfig(kind="valley"), problem(3))
