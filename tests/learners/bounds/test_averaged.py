from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task
from numpy_mlp import BATCH, SEEDS, answers, batches, gradient, learned, learner, shown, weights

from nlbench import Problem, catalog
from nlbench.errors import NlbenchError
from nlbench.learners.building import build

RATE, POWER = 0.2, 3.0


def test_three_tasks_are_learned_as_the_equations_say_and_measured_at_the_average() -> None:
    fresh, made = learner("averaged", power=POWER), learned(learner("averaged", power=POWER))
    x = next(iter(batches(2))).inputs
    for seed in range(len(SEEDS)):
        p = weights(fresh, seed)
        path = []
        for task in (1, 2, 3):
            for inputs, labels, classes in shown(task, seed):
                g = gradient(p, inputs, labels, classes)
                p = {name: value - RATE * g[name] for name, value in p.items()}
                path.append(p)
        share = np.array([1.0])  # of each step in the average, by the recursion
        for t in range(2, len(path) + 1):
            late = (POWER + 1) / (t + POWER)
            share = np.append(share * (1 - late), late)
        average = {name: sum(w * each[name] for w, each in zip(share, path, strict=True)) for name in p}
        for name, value in p.items():
            np.testing.assert_allclose(made.parameters[name][seed].detach(), value, rtol=1e-3, atol=2e-5)
            np.testing.assert_allclose(made.average[name][seed], average[name], rtol=1e-3, atol=2e-5)
        measured = made.predict(x, None)[seed].numpy()
        np.testing.assert_allclose(measured, answers(average, x[seed].double().numpy())[1], rtol=1e-3, atol=1e-4)
        assert np.abs(measured - answers(p, x[seed].double().numpy())[1]).max() > 0.01


def test_without_power_every_step_counts_alike() -> None:
    made, total, n = learner("averaged", power=0), 0.0, 0
    with torch.no_grad():
        for batch in batches(1):
            made.observe(batch)
            total, n = total + made.parameters["head.weight"].detach().clone(), n + 1
    torch.testing.assert_close(made.average["head.weight"], total / n)


def test_it_moves_as_plain_fine_tuning_whose_losses_it_returns() -> None:
    made, plain = learner("averaged"), learner("naive")
    with torch.no_grad():
        for batch in batches(1):
            assert torch.equal(made.observe(batch), plain.observe(batch))
    assert all(torch.equal(value, made.parameters[name]) for name, value in plain.parameters.items())


def test_a_head_that_comes_later_is_averaged_from_its_own_first_step() -> None:
    made = learner("averaged", scenario="task-il", head="task", power=0)
    learned(made, tasks=(1,), told=True)
    heads, second = [], list(batches(2, told=True))[:2]
    with torch.no_grad():
        for batch in second:
            made.observe(batch)
            heads.append(made.parameters["head.2.bias"].detach().clone())
    torch.testing.assert_close(made.average["head.2.bias"], (heads[0] + heads[1]) / 2)


def test_a_seed_alone_equals_it_among_others_and_it_resumes() -> None:
    a_seed_alone_is_as_among_others(partial(learner, "averaged"))
    it_resumes_bit_equal_within_a_task(partial(learner, "averaged"))
    it_resumes_bit_equal_within_a_task(partial(learner, "averaged", optimizer={"kind": "adam"}))


def test_the_average_is_billed() -> None:
    made, plain = learner("averaged").memory_bytes(), learner("naive").memory_bytes()
    assert made["memory"] - plain["memory"] >= plain["parameters"]


def test_statistics_that_are_not_the_averages_are_refused() -> None:
    def built(**norm: object) -> None:
        table = {"kind": "averaged", "network": {"kind": "resnet18", "width": 4, **norm}}
        build(catalog.config("learners", "averaged").model_validate(table), problem)

    problem = Problem((3, 8, 8), 4, SEEDS, "class-il", torch.device("cpu"), "auto", BATCH)
    with pytest.raises(NlbenchError, match=r"keeps statistics.*running_mean.*Set learner\.network\.norm"):
        built()
    built(norm="group", groups=2)
