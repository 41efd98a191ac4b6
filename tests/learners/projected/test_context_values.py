from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from small_projected import B, C, N, S
from small_streams import CPU
from torch import Tensor

from nlbench import Problem
from nlbench.learners.projected.chain import Chain, Told
from nlbench.learners.projected.config import ProjectedConfig
from nlbench.learners.projected.context_values import ContextValues
from nlbench.learners.projected.continuum import Continuum
from nlbench.learners.projected.memory import with_constant
from nlbench.learners.projected.schedule import Schedule

G = 3
TABLE: dict[str, Any] = {
    "levels": [
        {"width": 9, "rate": 0.3, "ridge": 2.0},
        {"width": 8, "rate": 0.2, "ridge": 3.0, "retain": 0.9},
        {"width": 7, "rate": 0.4, "ridge": 1.5},
    ],
    "readout": {"rule": "protected", "rate": 0.5, "ridge": 1.0},
    "refresh": 4,
    "bound": 0.5,
}
ALL = torch.ones(C, dtype=torch.bool)
CONTEXTS = torch.tensor([[0, 0, 2, 0, 2, 2, 1, 0, 1], [1, 0, 0, 1, 2, 1, 0, 0, 0]])
CHUNKS = CONTEXTS.shape[1]


def continuum(seeds: tuple[int, ...] = (0, 1), backend: str = "reference", **changes: Any) -> tuple[Continuum, Schedule]:
    config = ProjectedConfig.model_validate({"kind": "projected", **TABLE, **changes})
    problem = Problem((N,), C, seeds, "class-il", CPU, backend, 100)
    return Continuum(config, N, problem, "reference", contexts=G), Schedule.of(config)


class Taught:
    """Levels with context values, told the same chunks as `Plain`, `size` chunks a call."""

    def __init__(self, size: int, backend: str, seeds: tuple[int, ...] = (0, 1)) -> None:
        self.continuum, schedule = continuum(seeds, backend)
        self.first = [memory.weights.clone() for memory in self.continuum.memories]
        chain, losses = Chain(self.continuum, schedule), []
        keys, labels = shown(seeds)
        contexts = CONTEXTS[list(seeds)]
        for step in range(0, CHUNKS, size):
            told = Told(labels[:, step : step + size], ALL, contexts=contexts[:, step : step + size])
            losses.append(chain.learn(with_constant(keys[:, step * B : (step + size) * B]), told, step))
            now = min(step + size, CHUNKS)
            self.continuum.refresh(protects=schedule.protects(now), solves=False)
        self.losses = torch.cat(losses)

    @property
    def readout(self) -> ContextValues:
        assert isinstance(self.continuum.readout, ContextValues)
        return self.continuum.readout


def shown(seeds: tuple[int, ...] = (0, 1)) -> tuple[Tensor, Tensor]:
    draws = [torch.Generator().manual_seed(40 + seed) for seed in seeds]
    keys = torch.stack([torch.randn(CHUNKS * B, N, generator=draw) for draw in draws])
    return keys, torch.stack([torch.randint(C, (CHUNKS, B), generator=draw) for draw in draws])


class Plain:
    """The same of one seed, written out in float64 NumPy from what the paper's eq. 59 says in the metric I + A / λ."""

    def __init__(self, seed: int, first: list[Tensor]) -> None:
        self.levels = [each[seed].double().numpy() for each in first[:-1]]
        self.values = [first[-1][seed].double().numpy() for _ in range(G)]
        self.losses: list[float] = []
        rates, ridges, retains = (0.3, 0.2, 0.4, 0.5), (2.0, 3.0, 1.5, 1.0), (1.0, 0.9, 1.0, 1.0)
        widths = [weights.shape[1] for weights in (*self.levels, self.values[0])]
        grams, shields = [np.zeros((d, d)) for d in widths], [np.eye(d) for d in widths]
        every, labels = (each[seed].numpy() for each in shown())
        for step, context in enumerate(CONTEXTS[seed].tolist(), start=1):
            keys = self.keys(every[(step - 1) * B : step * B].astype(np.float64))
            answers = keys[-1] @ self.values[context].T
            shares = np.exp(answers - answers.max(1, keepdims=True))
            shares /= shares.sum(1, keepdims=True)
            said = labels[step - 1]
            self.losses.append(float(-np.log(shares[np.arange(B), said]).mean()))
            error = (shares - np.eye(C)[said]) / B
            weights = [*self.levels, self.values[context]]
            moves = [np.zeros(0)] * len(weights)
            for i in range(len(weights) - 1, -1, -1):
                move = error.T @ keys[i] @ shields[i]
                moves[i] = rates[i] * move * min(1.0, 0.5 / np.linalg.norm(move))
                error = (error @ weights[i])[:, :-1] * (keys[i][:, :-1] > 0)
            for weight, move in zip(weights, moves, strict=True):
                weight -= move
            grams = [retain * gram + key.T @ key / B for gram, key, retain in zip(grams, keys, retains, strict=True)]
            if step in (1, 2, 4, 8):
                shields = [np.linalg.inv(np.eye(len(gram)) + gram / ridge) for gram, ridge in zip(grams, ridges, strict=True)]

    def keys(self, inputs: np.ndarray) -> list[np.ndarray]:
        keys = [np.hstack([inputs, np.ones((len(inputs), 1))])]
        for weights in self.levels:
            keys.append(np.hstack([np.maximum(keys[-1] @ weights.T, 0.0), np.ones((len(inputs), 1))]))
        return keys

    def logits(self, inputs: np.ndarray, belief: np.ndarray, contexts: list[int]) -> np.ndarray:
        read = self.keys(inputs)[-1]
        joint = [
            answers - np.log(np.exp(answers).sum(1, keepdims=True)) + belief[:, [context]]
            for context, answers in ((each, read @ self.values[each].T) for each in contexts)
        ]
        return np.max(joint, axis=0)


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_levels_and_the_chunks_own_context_step_in_the_metric_of_all_keys(backend: str) -> None:
    made = Taught(1, backend)
    test = np.random.Generator(np.random.Philox(3)).standard_normal((6, N))
    for seed in range(S):
        plain = Plain(seed, [each.clone() for each in made.first])
        for level, expected in zip(made.continuum.levels, plain.levels, strict=True):
            np.testing.assert_allclose(level.weights[seed].numpy(), expected, atol=3e-5, rtol=1e-4)
        used = sorted(set(CONTEXTS[seed].tolist()))
        np.testing.assert_allclose(
            made.readout.rows(seed, None)[0].numpy(), np.concatenate([plain.values[each] for each in used]), atol=3e-5, rtol=1e-4
        )
        np.testing.assert_allclose(made.losses[:, seed].numpy(), plain.losses, atol=1e-4)
        for belief in (np.zeros((6, G)), np.linspace(0.0, -9.0, 6 * G).reshape(6, G)):
            found = made.continuum.answers(seed, torch.tensor(test).float(), torch.tensor(belief).float())
            np.testing.assert_allclose(found[0].numpy(), plain.logits(test, belief, used), atol=2e-4, rtol=1e-4)


def test_a_seed_alone_learns_what_it_learns_beside_another() -> None:
    both, alone = Taught(1, "reference"), Taught(1, "reference", (1,))
    torch.testing.assert_close(alone.readout.rows(0, None), both.readout.rows(1, None), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(alone.losses[:, 0], both.losses[:, 1], atol=1e-6, rtol=1e-5)


def test_contexts_change_within_chunks_that_are_learned_at_once() -> None:
    one, other = continuum(), continuum()
    keys, labels = shown()
    step_by_step, at_once = Chain(*one), Chain(*other)
    losses = [
        step_by_step.learn(
            with_constant(keys[:, i * B : (i + 1) * B]), Told(labels[:, i : i + 1], ALL, contexts=CONTEXTS[:, i : i + 1]), i
        )
        for i in range(CHUNKS)
    ]
    found = at_once.learn(with_constant(keys), Told(labels, ALL, contexts=CONTEXTS), 0)
    torch.testing.assert_close(found, torch.cat(losses), atol=1e-5, rtol=1e-5)
    for name, value in one[0].tensors().items():
        torch.testing.assert_close(other[0].tensors()[name], value, atol=1e-5, rtol=1e-4)


def test_what_is_left_is_as_it_was_and_what_was_never_turned_to_is_not_read() -> None:
    made = Taught(1, "reference").readout
    before = made.rows(0, None).clone()
    made.turn_to(torch.tensor([2, 2]))
    assert torch.equal(made.rows(0, None), before)
    assert made.rows(0, None).shape[1] == G * C
    fresh = continuum()[0].readout
    assert fresh.rows(0, None).shape[1] == C
    fresh.turn_to(torch.tensor([1, 2]))
    assert fresh.rows(1, None).shape[1] == C


def test_without_a_belief_contexts_are_alike() -> None:
    made = Taught(1, "reference")
    keys = torch.randn(4, N, generator=torch.Generator().manual_seed(1))
    assert torch.equal(made.continuum.answers(0, keys), made.continuum.answers(0, keys, torch.zeros(4, G)))


def test_a_belief_in_one_context_reads_that_context_alone() -> None:
    made = Taught(1, "reference")
    keys = torch.randn(4, N, generator=torch.Generator().manual_seed(1))
    sure = torch.full((4, G), -1e4)
    sure[:, 2] = 0.0
    found = made.continuum.answers(0, keys, sure)
    made.readout.turn_to(torch.tensor([2, 2]))
    made.readout.used[:, :2] = False
    torch.testing.assert_close(found, made.continuum.answers(0, keys))


@pytest.mark.parametrize(
    "changes",
    [{"levels": []}, {"levels": [{"width": 3, "period": 2}]}, {"readout": {"rule": "exact"}}],
    ids=["no-level", "slow-level", "rule"],
)
def test_what_cannot_answer_by_context_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="need a read-out"):
        continuum(**changes)
