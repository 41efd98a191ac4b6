"""Global generators belong to the learner that draws: its draws repeat, and nobody else's move."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from small_streams import CPU
from torch import nn

from nlbench import Batch, Learner, NlbenchError, Problem
from nlbench.learners.adapter import EachSeed
from nlbench.learners.external import External
from nlbench.learners.generators import GlobalGenerators

PROBLEM = Problem((3,), 2, (4, 5, 12), "class-il", CPU, "auto", 9)
DRAWS = {
    "random": random.random,
    "numpy.random": np.random.rand,
    "torch": lambda: torch.rand(()).item(),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_go_on_within_and_nothing_moves_outside(name):
    own, other = GlobalGenerators((3,), CPU), GlobalGenerators((3,), CPU)
    drawn = []
    for _ in range(3):
        with own:
            drawn.append(DRAWS[name]())
        DRAWS[name]()  # of somebody else
    with other:
        assert [DRAWS[name]() for _ in range(3)] == drawn
    assert len(set(drawn)) == 3
    assert GlobalGenerators((4,), CPU).drawn_since(own.states()) != []


class Drops(Learner):
    """Dropout, noise from every global generator, weights that torch draws."""

    single_seed = True

    def __init__(self, config, problem):
        self.net = nn.Sequential(nn.Linear(problem.n_inputs, 8), nn.Dropout(0.5), nn.Linear(8, problem.n_classes))

    def observe(self, batch):
        self.net.train()
        loss = nn.functional.cross_entropy(self.net(batch.inputs), batch.labels)
        self.net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for weight in self.net.parameters():
                weight -= 0.1 * weight.grad * (1 + random.random() + DRAWS["numpy.random"]())
        return loss

    def predict(self, inputs, task):
        return self.net.eval()(inputs)


class Noisy(Drops):
    def predict(self, inputs, task):
        return self.net.train()(inputs)


def built(problem, kind=Drops):
    return EachSeed(partial(External, kind, "mine.py:Drops"), {}, problem)


def batch(step, seeds):
    draws = [np.random.default_rng([seed, step]) for seed in seeds]
    inputs = torch.stack([torch.from_numpy(draw.standard_normal((6, 3), dtype=np.float32)) for draw in draws])
    return Batch(inputs, (inputs.sum(-1) > 0).long(), torch.ones(2, dtype=torch.bool), None)


def test_one_seed_alone_equals_itself_among_others_and_resumes():
    together, alone = built(PROBLEM), built(replace(PROBLEM, seeds=(5,)))
    with torch.no_grad():
        for step in range(6):
            first, second = together.observe(batch(step, (4, 5, 12))), alone.observe(batch(step, (5,)))
            assert first[1] == second[0]
            random.random(), torch.rand(3)  # somebody else draws
            if step == 2:
                saved = {name: value.clone() for name, value in together.state_dict().items()}
        resumed = built(PROBLEM)
        resumed.load_state_dict(saved)
        for step in range(3, 6):
            resumed.observe(batch(step, (4, 5, 12)))
        x = torch.randn(1, 5, 3)
        assert torch.equal(together.predict(x, None), resumed.predict(x, None))
        assert torch.equal(together.predict(x, None)[1], alone.predict(x, None)[0])
        assert not torch.equal(together.predict(x, None)[0], together.predict(x, None)[2])


def test_predicting_leaves_modes_as_they_were_and_must_not_draw():
    learner = built(PROBLEM)
    with torch.no_grad():
        learner.observe(batch(0, PROBLEM.seeds))
        learner.predict(torch.zeros(1, 2, 3), None)
        assert learner.inner[0].learner.net.training
        with pytest.raises(NlbenchError, match=r"predict drew numbers from torch: evaluation must draw nothing"):
            built(PROBLEM, Noisy).predict(torch.zeros(1, 2, 3), None)
