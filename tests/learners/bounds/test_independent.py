from __future__ import annotations

from functools import partial

import torch
from method_contract import a_seed_alone_is_as_among_others, it_resumes_bit_equal_within_a_task
from numpy_mlp import batches, learned, learner

from nlbench import catalog
from nlbench.batch import needs

MOMENTUM = {"optimizer": {"kind": "sgd", "rate": 0.2, "momentum": 0.9}}


def test_after_each_task_it_is_a_network_that_learned_that_task_alone() -> None:
    made = learner("independent", **MOMENTUM)
    for task in (1, 2, 3):
        learned(made, tasks=(task,))
        alone = learned(learner("naive", **MOMENTUM), tasks=(task,))
        for name, value in alone.parameters.items():
            assert torch.equal(made.parameters[name], value)
        assert torch.equal(made.slots["velocity"]["head.weight"], alone.slots["velocity"]["head.weight"])


def test_until_the_next_task_comes_it_is_measured_as_it_is() -> None:
    made = learned(learner("independent"), tasks=(1,))
    x = next(iter(batches(1))).inputs
    assert not torch.allclose(made.predict(x, None), learner("independent").predict(x, None))


def test_a_seed_alone_equals_it_among_others_and_it_resumes() -> None:
    a_seed_alone_is_as_among_others(partial(learner, "independent", **MOMENTUM))
    it_resumes_bit_equal_within_a_task(partial(learner, "independent", **MOMENTUM))
    it_resumes_bit_equal_within_a_task(partial(learner, "independent", optimizer={"kind": "adam"}))


def test_the_catalog_says_what_it_needs() -> None:
    assert catalog.needs("independent") == needs(type(learner("independent"))) == ("boundaries",)
