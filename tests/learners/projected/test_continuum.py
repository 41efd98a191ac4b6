from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_projected import LEVELS, N, S, batch, learner, taught


def test_a_state_is_taken_over_in_place_and_copied() -> None:
    made, other = taught(LEVELS).continuum, learner(LEVELS).continuum
    places = [each.data_ptr() for each in other.tensors().values()]
    state = made.state()
    other.restore(state)
    assert [each.data_ptr() for each in other.tensors().values()] == places
    assert all(torch.equal(each, state[name]) for name, each in other.state().items())
    made.memories[0].weights.zero_()
    assert other.memories[0].weights.any()


def test_what_is_gathered_is_forgotten_and_faded_everywhere_and_weights_stay() -> None:
    made = taught(LEVELS).continuum
    weights, grams = ([getattr(memory, name).clone() for memory in made.memories] for name in ("weights", "gram"))
    made.fade(torch.full((S, 1, 1), 0.5))
    for memory, gram in zip(made.memories, grams, strict=True):
        torch.testing.assert_close(memory.gram, 0.5 * gram)
        assert gram.any()
    made.forget()
    assert not any(memory.gram.any() for memory in made.memories)
    assert all(torch.equal(memory.weights, before) for memory, before in zip(made.memories, weights, strict=True))


def test_only_the_first_memory_follows_an_order_and_late() -> None:
    made = taught(LEVELS).continuum
    before = [memory.gram.clone() for memory in made.memories]
    made.permute(torch.arange(N - 1, -1, -1).repeat(S, 1))
    assert all(torch.equal(memory.gram, gram) for memory, gram in zip(made.memories, before, strict=True))
    made.memories[0].gram.masked_fill_(torch.ones_like(before[0], dtype=torch.bool).tril(-1), torch.nan)
    made.settle()
    torch.testing.assert_close(made.memories[0].gram[:, :-1, :-1], before[0][:, :-1, :-1].flip(1, 2))
    assert all(torch.equal(memory.gram, gram) for memory, gram in zip(made.memories[1:], before[1:], strict=True))


def test_bytes_count_what_products_keep_beside_a_matrix() -> None:
    made = taught(LEVELS)
    plain = made.memory_bytes()
    memory = made.continuum.memories[1]
    memory._factor = replace(memory._factor, over_columns=torch.zeros(S, 3, 5, dtype=torch.bfloat16))
    memory._projecting = replace(memory._projecting, over_columns=torch.zeros(S, 7, dtype=torch.bfloat16))
    assert made.memory_bytes() == {**plain, "memory": plain["memory"] + 2 * (3 * 5 + 7)}


@pytest.mark.parametrize("refreshed", ["protects", "solves"])
def test_a_refresh_does_what_it_is_told(refreshed: str) -> None:
    table = {**LEVELS, "refresh": 10**6, "readout": {"rule": "exact"}}
    made = learner(table)
    made.step = 2  # so that nothing is due by itself
    made.observe(batch(0))
    before = made.continuum.state()
    before = {name: each.clone() for name, each in before.items()}
    made.continuum.refresh(protects=refreshed == "protects", solves=refreshed == "solves")
    changed = {name for name, each in made.continuum.state().items() if not torch.equal(each, before[name])}
    projections = {"memory0.projection", "memory1.projection"}
    assert changed == (projections if refreshed == "protects" else {"memory2.weights"})


def test_where_nothing_needs_a_metric_plain_torch_runs() -> None:
    made = learner({"readout": {"rule": "dgd"}}, backend="numba")
    assert made.backend == made.continuum.backend == "reference"
    assert learner({"readout": {"rule": "exact"}}, backend="numba").backend == "numba"
