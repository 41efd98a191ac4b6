from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from small_streams import CPU
from torch import Tensor

from nlbench import Batch, NlbenchError, Problem
from nlbench.learners.gradient_config import NaiveConfig
from nlbench.learners.naive import Naive
from nlbench.nested.layers import Draws
from nlbench.networks.config import SequenceConfig
from nlbench.networks.sequence import Reader, Sequence

S, B = 2, 5
SMALL: dict[str, Any] = {"kind": "sequence", "width": 8, "heads": 2, "periods": [1, 4]}
KINDS: dict[str, dict[str, Any]] = {
    "titans": {},
    "attention": {"mixer": "attention"},
    "headwise": {"memory": "headwise", "depth": 2},
    "stream": {"context": "stream"},
    "delta rule": {"memories": {"form": "matrix", "objective": "dot", "retention": "zero", "self_modifying": False}},
}
EACH = pytest.mark.parametrize("table", list(KINDS.values()), ids=list(KINDS))


def problem(shape: tuple[int, ...] = (1, 6, 4), sample: Any = "image", seeds: tuple[int, ...] = (0, 1)) -> Problem:
    return Problem(shape, 3, seeds, "class-il", CPU, "reference", 100, sample=sample)


def network(table: dict[str, Any], given: Problem | None = None) -> Sequence:
    return Sequence(SequenceConfig.model_validate({**SMALL, **table}), given or problem())


def inputs(seed: int, n: int = B) -> Tensor:
    return torch.randn(S, n, 1, 6, 4, generator=torch.Generator().manual_seed(seed))


@EACH
def test_features_of_stacked_seeds_are_those_of_a_module_a_seed(table: dict[str, Any]) -> None:
    made, x = network(table), inputs(1)
    parameters, state = made.initial((0, 1))
    found, after = made.apply(parameters, state, x, training=False)
    assert found.shape == (S, B, made.width)
    assert after is state
    streams = table.get("context") == "stream"
    for seed in range(S):
        alone = Reader(
            SequenceConfig.model_validate({**SMALL, **table}),
            24 if streams else 4,
            0 if streams else 6,
            Draws((seed,), seed_axis=False),
        )
        own = dict(alone.named_parameters())
        assert all(torch.equal(value[seed], own[name]) for name, value in parameters.items())
        cut = x[seed].reshape(B, 1, 24) if streams else x[seed].reshape(B, 6, 4)
        torch.testing.assert_close(found[seed], alone(cut, None)[0].mean(1), atol=1e-5, rtol=1e-4)


@EACH
def test_a_sample_is_read_alike_alone_and_among_others(table: dict[str, Any]) -> None:
    made = network(table)
    parameters, state = made.initial((0, 1))
    _, state = made.apply(parameters, state, inputs(2), training=True)
    every, _ = made.apply(parameters, state, inputs(3), training=False)
    some, _ = made.apply(parameters, state, inputs(3)[:, 2:4], training=False)
    torch.testing.assert_close(some, every[:, 2:4], atol=1e-6, rtol=1e-5)


def test_a_stream_goes_on_where_it_was_and_no_later_sample_reaches_an_earlier_one() -> None:
    made = network({"context": "stream"})
    parameters, start = made.initial((0, 1))
    first, middle = made.apply(parameters, start, inputs(4), training=True)
    second, _ = made.apply(parameters, middle, inputs(5), training=True)
    changed = inputs(4)
    changed[:, -1] += 1.0
    moved, other = made.apply(parameters, start, changed, training=True)
    assert torch.equal(moved[:, :-1], first[:, :-1])
    assert not torch.equal(moved[:, -1], first[:, -1])
    assert not torch.equal(made.apply(parameters, other, inputs(5), training=True)[0], second)
    assert all(value.shape == middle[name].shape for name, value in start.items())
    assert not any(value.requires_grad for value in middle.values())


def test_every_parameter_of_a_continuum_memory_has_its_period_and_nested_levels_restart() -> None:
    made = network({"depth": 2, "memory": "nested", "periods": [1, 2, 4]})
    parameters, _ = made.initial((0,))
    levels = {name for name in parameters if ".memory.levels." in name}
    assert made.periods.keys() == levels
    assert {period for name, period in made.periods.items() if ".levels.0." in name} == {4}
    assert sorted(set(made.periods.values())) == [1, 2, 4]
    assert made.restarts == {name for name in levels if made.periods[name] < 4}
    headwise = network({"memory": "headwise", "periods": [1, 2, 4]})
    assert headwise.periods["hope.blocks.0.memory.mix"] == 4
    assert not headwise.restarts


@pytest.mark.parametrize(
    ("shape", "sample", "tokens", "expected"),
    [
        ((1, 6, 4), "image", None, (6, 4)),
        ((3, 6, 4), "image", None, (6, 12)),
        ((6, 4), "image", None, (6, 4)),
        ((7, 5), "sequence", None, (7, 5)),
        ((24,), "vector", 8, (8, 3)),
        ((1, 6, 4), "vector", 2, (2, 12)),
    ],
)
def test_rows_of_images_steps_of_sequences_and_parts_of_vectors_are_tokens(
    shape: tuple[int, ...], sample: str, tokens: int | None, expected: tuple[int, int]
) -> None:
    made = network({} if tokens is None else {"tokens": tokens}, problem(shape, sample))
    assert (made._tokens, made._token) == expected


def test_an_images_row_is_one_token_of_all_its_channels() -> None:
    made = network({}, problem((3, 6, 4)))
    x = torch.arange(72.0).view(1, 1, 3, 6, 4)
    assert torch.equal(made._cut(x)[0, 0, 2], x[0, 0, :, 2].flatten())


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(NlbenchError, match="has no rows"):
        network({}, problem((24,), "vector"))
    with pytest.raises(NlbenchError, match="must divide the 24 numbers"):
        network({"tokens": 5})
    for table in ({"heads": 3}, {"periods": [2, 2]}, {"context": "stream", "mixer": "attention"}):
        with pytest.raises(ValidationError):
            network(table)


@EACH
def test_a_method_by_gradients_trains_every_parameter(table: dict[str, Any]) -> None:
    config = NaiveConfig.model_validate(
        {"kind": "naive", "network": {**SMALL, **table}, "optimizer": {"kind": "adam", "rate": 0.01}}
    )
    made = Naive(config, problem())
    before = {name: value.detach().clone() for name, value in made.parameters.items()}
    labels = torch.randint(3, (S, B), generator=torch.Generator().manual_seed(0))
    losses = [made.observe(Batch(inputs(6), labels, torch.ones(3, dtype=torch.bool), None)) for _ in range(12)]
    assert (losses[-1] < losses[1]).all()
    still = {name for name, value in made.parameters.items() if torch.equal(value, before[name])}
    assert not still
