"""HOPE blocks on images: each level moves once in its period, and a run interrupted anywhere goes on to the bit."""

from __future__ import annotations

import pytest
import torch
from small_streams import CPU

from nlbench import Batch, NlbenchError, Problem
from nlbench.learners.config import HopeBlocksConfig
from nlbench.learners.hope_blocks import HopeBlocks

SEEDS = (0, 3)


def made(seeds=SEEDS, steps=20, **config):
    settings = {"width": 8, "heads": 2, "tokens": 2, "periods": (1, 3), "rate": 0.1, **config}
    return HopeBlocks(
        HopeBlocksConfig(kind="hope-blocks", **settings), Problem((8,), 3, seeds, "class-il", CPU, "reference", steps)
    )


def batch(step, seeds=SEEDS):
    draws = [torch.Generator().manual_seed(100 * seed + step) for seed in seeds]
    inputs = torch.stack([torch.randn(6, 8, generator=draw) for draw in draws])
    return Batch(inputs, inputs[..., :3].argmax(-1), torch.ones(3, dtype=torch.bool), None)


@pytest.mark.parametrize("mixer", ["titans", "attention"])
def test_it_learns(mixer):
    learner = made(mixer=mixer)
    losses = [learner.observe(batch(step % 4)) for step in range(40)]
    assert (torch.stack(losses[-4:]).mean(0) < 0.7 * torch.stack(losses[:4]).mean(0)).all()


def test_slow_levels_move_once_in_their_period():
    learner = made()
    slow = learner._targets[1]
    before = {name: value.clone() for name, value in slow.items()}
    moved = []
    for step in range(1, 7):
        learner.observe(batch(step))
        moved.append(any(not torch.equal(value, before[name]) for name, value in slow.items()))
        before = {name: value.clone() for name, value in slow.items()}
    assert moved == [False, False, True, False, False, True]
    assert {name: value.tolist() for name, value in learner.diagnostics().items()} == {
        "level.1.updates": [6.0, 6.0],
        "level.3.updates": [2.0, 2.0],
    }


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_it_goes_on_to_the_bit_from_within_a_period(steps):
    whole, first, second = made(), made(), made()
    for step in range(8):
        whole.observe(batch(step))
    for step in range(steps):
        first.observe(batch(step))
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    for step in range(steps, 8):
        second.observe(batch(step))
    x = batch(99).inputs
    assert torch.equal(second.predict(x, None), whole.predict(x, None))


def test_a_seed_learns_the_same_alone():
    together, alone = made(), made((3,))
    for step in range(4):
        together.observe(batch(step))
        alone.observe(batch(step, (3,)))
    x = batch(99).inputs
    assert torch.allclose(together.predict(x, None)[1], alone.predict(x[1:], None)[0], atol=1e-5)


def test_a_level_that_never_fires_is_refused():
    with pytest.raises(NlbenchError, match=r"never fire in 2 steps"):
        made(steps=2)
