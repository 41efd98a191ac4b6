from __future__ import annotations

import math

import numpy as np
import torch
from small_replay import SEEDS, Mlp64, batches, learner, of_surprise, spied

from nlbench.learners.replay.gdumb import cosine


def test_after_each_task_it_is_the_network_trained_from_its_start_on_the_buffer_alone() -> None:
    made = learner("gdumb", passes=3, fit_batch=3, least_rate=0.01)
    starts = {name: value.detach().clone() for name, value in made.parameters.items()}
    drawn = spied(made)
    for task in (1, 2, 3):
        before = {name: value.clone() for name, value in made.parameters.items()}
        shown = batches(task)
        for batch in shown:
            made.observe(batch)
        assert all(torch.equal(value, before[name]) for name, value in made.parameters.items())
        assert not drawn
        made.end_task()
        assert [len(each["labels"][0]) for each in drawn] == [3, 3, 2] * 3
        for seed in range(len(SEEDS)):
            network = Mlp64(starts, seed)
            for step, each in enumerate(drawn):
                x, y = each["inputs"][seed], each["labels"][seed]
                gradient = network.gradient(x, of_surprise(network.logits(x), y, shown[0].classes.numpy()))
                rate = [0.2, 0.2, 0.105][step // 3]
                network.values = {name: value - rate * gradient[name] for name, value in network.values.items()}
            for name, value in network.values.items():
                np.testing.assert_allclose(made.parameters[name][seed].detach().numpy(), value, rtol=1e-3, atol=1e-5)
        once = np.unique(np.concatenate([each["inputs"][0] for each in drawn]), axis=0)
        assert len(once) == 8
        counts = np.bincount(made.buffer.fields["labels"][0].numpy())
        assert counts[: 2 * task].max() - counts[: 2 * task].min() <= 1
        drawn.clear()


def test_what_is_shown_changes_no_answer_before_the_task_ends_and_what_it_loses_is_told() -> None:
    made = learner("gdumb", passes=3)
    first, second = batches(1)[:2]
    assert torch.equal(made.observe(first), learner("gdumb", passes=3).observe(first))
    losses = made.observe(second)
    answers = made.predict(second.inputs, None).masked_fill(~second.classes, -math.inf)
    torch.testing.assert_close(
        losses, torch.stack([torch.nn.functional.cross_entropy(a, y) for a, y in zip(answers, second.labels, strict=True)])
    )


def test_the_start_is_whole_statistics_and_moments_included() -> None:
    made = learner("gdumb", passes=1, optimizer={"kind": "adam", "rate": 0.01})
    for task in (1, 2):
        for batch in batches(task):
            made.observe(batch)
        made.end_task()
        assert {float(value) for value in made.slots["step"].values()} == {1.0}


def test_the_rate_falls_in_cycles_of_doubling_length() -> None:
    found = [cosine(number, 0.0, 1.0) for number in range(7)]
    wanted = [1, 1, 0.5, 1, (1 + math.cos(math.pi / 4)) / 2, 0.5, (1 - math.cos(math.pi / 4)) / 2]
    np.testing.assert_allclose(found, wanted)
