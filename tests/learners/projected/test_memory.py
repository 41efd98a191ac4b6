from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from nlbench.kernels import batch_product, bind, metric_update
from nlbench.learners.projected.memory import Memory, Ops, Writing, with_constant

S, B, D, V = 2, 5, 8, 6
BACKENDS = pytest.mark.parametrize("backend", ["reference", "numba"])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def memory(backend: str = "reference", *, protects: bool = True, **writing: Any) -> Memory:
    weights = drawn(S, V, D)
    steps = bind(metric_update, backend, weights)
    ops = Ops(steps, steps.beside(batch_product, weights))
    declared = Writing(**{"rate": 0.3, "ridge": 2.0, **writing})
    made = Memory(weights, declared, ops, gathers=protects, protects=protects, first=False, hidden=True)
    if protects:
        spread = drawn(S, 20, D, seed=7)
        made.gram.copy_(spread.mT @ spread)
        made.protect()
        made.renew_projection()
    return made


def keys(step: int) -> Tensor:
    return with_constant(drawn(S, B, D - 1, seed=100 + step))


def errors(step: int) -> Tensor:
    return drawn(S, B, V, seed=200 + step)


def step(made: Memory, number: int, *, ends: bool = True, gathers: bool = False) -> None:
    directions = made.directions(keys(number))
    moves = made.moves(errors(number), directions.numbers, B)
    made.step(keys(number), directions, moves, chunks=1, ends=ends, gathers=gathers)


def bounded_step(made: Memory, number: int) -> Tensor:
    """Δᵀ K P, no longer than the bound."""
    found = errors(number).mT @ keys(number)
    found = found @ made.projection if made.projection.numel() else found
    return found * (made.writing.bound / found.flatten(1).norm(dim=1)).clamp_max(1.0)[:, None, None]


def test_it_answers_and_says_what_is_below() -> None:
    made = memory()
    torch.testing.assert_close(made.answers(keys(0)), keys(0) @ made.weights.mT)
    torch.testing.assert_close(made.below(errors(0)), errors(0) @ made.weights)
    torch.testing.assert_close(made.inner(keys(0), keys(1)), keys(0) @ keys(1).mT)


@BACKENDS
@pytest.mark.parametrize("bound", [float("inf"), 0.5])
@pytest.mark.parametrize("protects", [True, False])
def test_a_step_goes_along_what_is_not_protected_and_no_further_than_the_bound(
    backend: str, bound: float, protects: bool
) -> None:
    made = memory(backend, protects=protects, bound=bound)
    expected = made.weights - 0.3 * bounded_step(made, 0)
    step(made, 0)
    torch.testing.assert_close(made.weights, expected, atol=1e-5, rtol=1e-4)


@BACKENDS
def test_a_slow_memory_waits_and_moves_by_the_mean_of_its_period(backend: str) -> None:
    made = memory(backend, period=3, bound=0.5)
    before, moves = made.weights.clone(), [bounded_step(made, number) for number in range(3)]
    for number in range(3):
        assert torch.equal(made.weights, before)
        step(made, number, ends=number == 2)
    torch.testing.assert_close(made.weights, before - 0.3 * torch.stack(moves).mean(0), atol=1e-5, rtol=1e-4)
    assert not made.pending.any()


def test_a_period_learned_at_once_is_the_period_learned_chunk_by_chunk() -> None:
    alone, whole = memory(period=2, bound=0.5), memory(period=2, bound=0.5)
    for number in (0, 1):
        step(alone, number, ends=number == 1)
    both = torch.cat([keys(0), keys(1)], 1)
    directions = whole.directions(both)
    moves = whole.moves(torch.cat([errors(0), errors(1)], 1), directions.numbers, B)
    whole.step(both, directions, moves, chunks=2, ends=True, gathers=False)
    torch.testing.assert_close(whole.weights, alone.weights)
    assert not whole.pending.any()


@pytest.mark.parametrize("retain", [1.0, 0.8])
def test_a_gram_gathers_every_share_as_many_times_and_fades(retain: float) -> None:
    made = memory(retain=retain, share=3)
    expected = made.gram.clone()
    for number in (0, 1):  # the older one first
        expected = retain * expected + 3 * keys(number).mT @ keys(number) / B
    made.gather([keys(1), keys(0)])
    torch.testing.assert_close(made.gram, expected)


@BACKENDS
def test_where_steps_are_whole_they_gather(backend: str) -> None:
    made = memory(backend, retain=0.8, share=3)
    expected = 0.8 * made.gram + 3 * keys(0).mT @ keys(0) / B
    assert made.gathers_apart == (backend == "reference")
    step(made, 0, gathers=True)
    if made.gathers_apart:
        made.gather([keys(0)])
    torch.testing.assert_close(made.gram, expected)
    held = made.gram.clone()
    step(made, 1)
    assert torch.equal(made.gram, held)


@BACKENDS
def test_what_many_keys_went_along_is_protected(backend: str) -> None:
    made = memory(backend, ridge=1.0)
    made.gram.zero_()
    made.gram[:, 0, 0] = 99.0
    made.protect()
    expected = torch.eye(D).repeat(S, 1, 1)
    expected[:, 0, 0] = 0.01
    torch.testing.assert_close(made.projection, expected)


@BACKENDS
def test_reordered_inputs_are_learned_as_inputs_in_their_old_places(backend: str) -> None:
    order = torch.stack([torch.randperm(D - 1, generator=torch.Generator().manual_seed(s)) for s in range(S)])
    columns = torch.cat([order, torch.full((S, 1), D - 1)], 1)[:, None]
    made, moved = memory(backend, period=2), memory(backend, period=2)
    step(made, 0, ends=False)
    step(moved, 0, ends=False)
    moved.permute(order)
    moved.follow(order)
    for number in (1, 2):
        shown = keys(number).gather(2, columns.expand(S, B, D))
        torch.testing.assert_close(moved.answers(shown), made.answers(keys(number)))
        directions = moved.directions(shown)
        moved.step(
            shown, directions, moved.moves(errors(number), directions.numbers, B), chunks=1, ends=number == 1, gathers=False
        )
        step(made, number, ends=number == 1)
    torch.testing.assert_close(moved.weights, made.weights.gather(2, columns.expand(S, V, D)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(moved.pending, made.pending.gather(2, columns.expand(S, V, D)), atol=1e-5, rtol=1e-4)


def test_what_it_does_not_need_is_empty() -> None:
    plain, slow = memory(protects=False), memory(period=2)
    assert [plain.gram.numel(), plain.projection.numel(), plain.pending.numel()] == [0, 0, 0]
    assert slow.pending.shape == slow.weights.shape
    assert plain.tensors().keys() == {"weights", "gram", "projection", "pending"}


def test_parts_of_weights_and_of_the_projection_are_named() -> None:
    made, parts = memory(), [torch.zeros(S, 3), torch.zeros(S, 4), torch.zeros(S, 5)]
    assert made.parts() == []
    made._factor = replace(made._factor, over_columns=parts[0], over_rows=parts[1])
    made._projecting = replace(made._projecting, over_columns=parts[2])
    assert [each.shape for each in made.parts()] == [each.shape for each in parts]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keys_end_with_a_constant(dtype: torch.dtype) -> None:
    found = with_constant(torch.zeros(S, B, D, dtype=dtype))
    assert found.shape == (S, B, D + 1)
    assert found.dtype == dtype
    assert torch.equal(found[..., -1], torch.ones(S, B, dtype=dtype))
