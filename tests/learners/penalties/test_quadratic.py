from __future__ import annotations

from functools import partial

import pytest
import torch
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task, nothing_is_as_naive
from numpy_mlp import batches, learned, learner

from nlbench.state import STRUCTURE

METHODS = {
    "ewc": {"kind": "ewc", "samples": 7},
    "ewc-online": {"kind": "ewc", "terms": "online", "decay": 0.7},
    "mas": {"kind": "mas"},
    "si": {"kind": "si"},
    "rwalk": {"kind": "rwalk", "every": 2},
    "lwf": {"kind": "lwf"},
}
SETTINGS = {"one head": ("class-il", "one"), "a head a task": ("task-il", "task")}


def make(method: str, setting: str, **more: object):
    scenario, head = SETTINGS[setting]
    return partial(learner, **{**METHODS[method], "scenario": scenario, "head": head, **more})


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("method", METHODS)
def test_strength_nothing_is_plain_fine_tuning(method: str, setting: str) -> None:
    scenario, head = SETTINGS[setting]
    naive = partial(learner, "naive", scenario=scenario, head=head, optimizer={"kind": "adam", "rate": 0.01})
    nothing_is_as_naive(
        make(method, setting, strength=0.0, optimizer={"kind": "adam", "rate": 0.01}), naive, told=scenario == "task-il"
    )


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("method", METHODS)
def test_a_seed_alone_is_as_among_others(method: str, setting: str) -> None:
    a_seed_alone_is_as_among_others(make(method, setting), told=setting == "a head a task")


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("method", METHODS)
def test_it_resumes_bit_equal_within_a_task(method: str, setting: str) -> None:
    it_resumes_bit_equal_within_a_task(make(method, setting), told=setting == "a head a task")


@pytest.mark.parametrize("method", [name for name in METHODS if name != "lwf"])
def test_importances_are_of_learned_tasks_and_hold_weights_near_their_means(method: str) -> None:
    """A penalty that does nothing moves as far as plain fine-tuning does."""
    made = make(method, "one head", strength=20.0, optimizer={"kind": "sgd", "rate": 0.02})()
    assert not any(value.any() for value in made.importances.values())
    learned(made, tasks=(1,))
    assert all((value >= 0).all() and value.any() for value in made.importances.values())
    plain = learned(learner("naive", optimizer={"kind": "sgd", "rate": 0.02}), tasks=(1, 2))
    with torch.no_grad():
        for batch in batches(2):
            made.observe(batch)
        ways = [
            sum((made.importances[name] * (each.parameters[name] - made.means[name]) ** 2).sum() for name in made.means)
            for each in (made, plain)
        ]
    assert ways[0] < 0.8 * ways[1]


def test_the_loss_that_is_returned_is_the_data_s_and_bytes_are_billed() -> None:
    made, plain = learner("si", strength=3.0), learner("naive")
    learned(made, tasks=(1, 2))
    with torch.no_grad():
        for name, value in made.parameters.items():
            plain.parameters[name].copy_(value)
    batch = next(iter(batches(3)))
    torch.testing.assert_close(made.observe(batch), plain.observe(batch))
    sizes = made.memory_bytes()
    assert sizes["memory"] == 3 * sizes["parameters"]
    assert STRUCTURE in made.state_dict()
