from __future__ import annotations

import torch
from numpy_mlp import BATCH, STEPS, batches, learned, learner


def test_a_bounded_choice_of_the_present_task_is_kept_and_none_when_it_ended() -> None:
    made = learner("ewc", samples=7)
    shown = torch.cat([batch.inputs for batch in batches(1)], 1)
    with torch.no_grad():
        for batch in batches(1):
            made.observe(batch)
    kept = made.kept.fields["inputs"]
    assert kept.shape[1] == 7
    assert made.kept.filled.all()
    for seed in range(3):
        assert all((shown[seed] == one).all(1).any() for one in kept[seed])
    made.end_task()
    assert made.kept.empty
    assert not made.kept.filled.any()


def test_stored_inputs_are_billed_as_samples_full_or_not() -> None:
    made = learner("mas", samples=7)
    sizes = made.memory_bytes()
    assert sizes["samples"] >= 7 * 5 * 4
    assert sizes["memory"] < 2 * sizes["parameters"] + 64
    learned(made, tasks=(1,))
    assert made.memory_bytes()["samples"] == sizes["samples"]


def test_more_places_than_samples_take_all_of_them() -> None:
    few, many = (learned(learner("ewc", samples=n), tasks=(1,)) for n in (BATCH * STEPS, 500))
    for name, value in few.importances.items():
        torch.testing.assert_close(value, many.importances[name], rtol=1e-5, atol=1e-8)
