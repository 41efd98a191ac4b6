from __future__ import annotations

import numpy as np
import pytest
import torch
from hope_oracle import RATE, Array, Keys, OneSeed
from scipy.special import log_softmax, logsumexp
from small_streams import CPU

from nlbench import Batch, Problem, seeds
from nlbench.batch import Batches
from nlbench.learners.hope.config import HopeConfig
from nlbench.learners.hope.learner import Hope

S, B, C, N = 2, 16, 3, 300


def learner(seeds=(0, 1), n=N, scenario="domain-il", backend="auto", **table):
    problem = Problem((n,), C, seeds, scenario, CPU, backend, 100, sample="vector")
    return Hope(HopeConfig.model_validate({"kind": "hope", **table}), problem)


def batch(step, world, seeds=(0, 1), size=B):
    """Noisy means of classes, seen through the world's own order of numbers."""
    draws = [torch.Generator().manual_seed(1000 * step + seed) for seed in seeds]
    labels = torch.stack([torch.randint(C, (size,), generator=draw) for draw in draws])
    fixed = torch.Generator().manual_seed(7)
    means, orders = torch.randn(C, N, generator=fixed), [torch.randperm(N, generator=fixed) for _ in range(3)]
    noise = torch.stack([torch.randn(size, N, generator=draw) for draw in draws])
    return Batch((means[labels] + 2 * noise)[..., orders[world]], labels, torch.ones(C, dtype=torch.bool), None)


def taught(steps=60, seeds=(0, 1), made=None):
    made = made or learner(seeds)
    for step in range(steps):
        made.observe(batch(step, step // 20, seeds))
    return made


def accuracy(made, world):
    tests = batch(999, world, size=100)
    return float((made.predict(tests.inputs, None).argmax(2) == tests.labels).double().mean())


@pytest.fixture(scope="module")
def ready():
    return taught()


def test_levels_are_learned_where_vectors_are_long_and_tasks_share_labels():
    assert learner().levels
    assert not learner(n=256).levels
    assert not learner(scenario="class-il").levels
    assert not learner(levels=False).levels


def test_every_world_gets_a_context_and_all_are_read_without_being_told_which(ready):
    assert ready.memory.values.used.tolist() == [3, 3]
    assert min(accuracy(ready, world) for world in range(3)) > 0.9


def test_a_resumed_learner_with_levels_goes_on_to_the_bit(ready):
    half, other = taught(31), learner()
    other.load_state_dict(half.state_dict())
    for step in range(31, 60):
        other.observe(batch(step, step // 20))
    tests = batch(99, 1).inputs
    assert torch.equal(other.predict(tests, None), ready.predict(tests, None))


def test_permuting_the_learner_is_permuting_its_inputs(ready):
    order = torch.stack([torch.randperm(N, generator=torch.Generator().manual_seed(s)) for s in range(S)])
    permuted = learner()
    permuted.load_state_dict(ready.state_dict())
    permuted.permute_inputs(order)
    shown = batch(99, 2).inputs
    given = shown.gather(2, order[:, None].expand_as(shown))
    torch.testing.assert_close(permuted.predict(given, None), ready.predict(shown, None), rtol=1e-4, atol=1e-4)


def test_bytes_count_the_contexts_found_and_no_others(ready):
    wide, narrow = 527, 263
    grams = 2 * ((N + 1) ** 2 + (wide + 1) ** 2 + (narrow + 1) ** 2)
    weights = wide * (N + 1) + narrow * (wide + 1) + C * (narrow + 1)
    found = ready.memory_bytes()
    assert found["parameters"] == 4 * (weights + 500 * (N + 1))
    pending, values = sum(rows.numel() for rows in ready.memory.pending) // S, 3 * C
    gram = ready.memory.gram.numel() // S
    assert gram < 0.54 * 501**2
    memory = gram + 501 + pending + values * (2 * 501 + 4)
    store = 3 * C * (narrow + 1) * 4 + 8 + 64  # whose are the present weights, and which contexts were turned to
    assert found["memory"] == pytest.approx(4 * (grams + memory) + store, abs=8)


@pytest.mark.parametrize("levels", [True, False])
def test_chunks_learned_in_one_call_as_on_a_gpu_decide_and_read_alike(levels):
    """Ragged: the last chunk of each world is half as long."""
    one, many = (learner(backend="reference", levels=levels, width=None if levels else 100) for _ in range(2))
    many._at_once, calls = 8, []
    learn = many._learn
    many._captured = lambda held, *inputs, kind: calls.append(inputs[1].shape[1]) or learn(*inputs)
    for world in range(3):
        shown = [batch(40 * world + step, world) for step in range(23)]
        shown.append(batch(40 * world + 23, world, size=B // 2))
        inputs = torch.cat([each.inputs.flatten(0, 1) for each in shown])
        starts = torch.tensor([0, *(each.labels.numel() for each in shown)]).cumsum(0)[:-1]
        rows = [torch.arange(each.labels.numel()).view(S, -1) + start for each, start in zip(shown, starts, strict=True)]
        labels = torch.cat([each.labels for each in shown], 1)
        losses = many.observe_batches(Batches(inputs, torch.cat(rows, 1), labels, B, shown[0].classes, None))
        torch.testing.assert_close(losses, torch.stack([one.observe(each) for each in shown]), rtol=1e-3, atol=1e-4)
    assert {1, 2, 4} <= set(calls)
    assert torch.equal(one.memory.values.used, many.memory.values.used)
    tests = batch(99, 1).inputs
    torch.testing.assert_close(many.predict(tests, None), one.predict(tests, None), rtol=1e-3, atol=1e-2)


class RebuiltLevels:
    """Learned levels of one seed in float64, written from docs/hope.md alone."""

    def __init__(self, seed: int, n: int, classes: int) -> None:
        wide = round(11.76 * n ** (2 / 3))
        sizes, self.chunk = [n, wide, wide // 2, classes], 0
        drawn = [seeds.normal((seed,), f"init/memory{i}", (sizes[i + 1], sizes[i]))[0].astype(float) for i in range(3)]
        *self.layers, first = (np.pad(own * (2 / own.shape[1]) ** 0.5, ((0, 0), (0, 1))) for own in drawn)
        self.read_outs = [0.1 * first for _ in range(64)]
        self.A, self.P = ([make((size + 1, size + 1)) for size in sizes[:3]] for make in (np.zeros, lambda shape: np.eye(*shape)))

    def keys(self, inputs: Array) -> list[Array]:
        """What layers and read-out read, each with a constant 1."""
        found = [np.pad(inputs, ((0, 0), (0, 1)), constant_values=1)]
        for layer in self.layers:
            found.append(np.pad(np.maximum(found[-1] @ layer.T, 0), ((0, 0), (0, 1)), constant_values=1))
        return found

    def learn(self, inputs: Array, labels: Array, context: int) -> None:
        keys, weights, self.chunk = self.keys(inputs), [*self.layers, self.read_outs[context]], self.chunk + 1
        errors = (np.exp(log_softmax(keys[2] @ weights[2].T, 1)) - np.eye(len(weights[2]))[labels]) / len(labels)
        for i in (2, 1, 0):
            step, errors = errors.T @ keys[i] @ self.P[i], ((errors @ weights[i]) * (keys[i] > 0))[:, :-1]
            weights[i] -= 0.6 * step * min(1, 2 / np.linalg.norm(step))
            if self.chunk % 4 == 0:
                self.A[i] += 4 * keys[i].T @ keys[i] / len(labels)
            if self.chunk % 256 == 0 or (self.chunk < 256 and self.chunk.bit_count() == 1):
                inverted = np.eye(len(self.A[i])) + self.A[i] / (5000, 1500, 250)[i]
                self.P[i] = np.linalg.inv(inverted + 2**-24 * np.trace(inverted) * np.eye(len(inverted)))

    def read(self, inputs: Array, values: Array) -> Array:
        """What classes read, given what the memory's values do (samples, contexts, classes)."""
        answers = np.stack([self.keys(inputs)[2] @ own.T for own in self.read_outs[: values.shape[1]]], 1)
        return (log_softmax(answers, 2) + log_softmax(logsumexp(values, 2), 1)[..., None]).max(1)


def test_levels_learn_and_are_read_as_the_page_says():
    """Over a renewal of what is protected, in three worlds whose chunks alternate at the end."""
    made, keys, memory, levels = learner((1,)), Keys(1, (N,), 500), OneSeed(501, C), RebuiltLevels(1, N, C)
    for step in range(70):
        shown = batch(step, step // 20 if step < 60 else step % 3, (1,))
        made.observe(shown)
        inputs, labels = shown.inputs[0].double().numpy(), shown.labels[0].numpy()
        x = keys(inputs)
        context, expected, plausible = memory.assign(x, labels)
        memory.write(x, labels, context, 1 + RATE * (1 - expected) * plausible)
        levels.learn(inputs, labels, context)
    assert made.memory.values.used.tolist() == [len(memory.b)] == [3]
    for world in range(3):
        tests = batch(999, world, (1,), size=100).inputs
        inputs = tests[0].double().numpy()
        rebuilt = levels.read(inputs, memory.values(keys(inputs)))
        np.testing.assert_allclose(made.predict(tests, None)[0].numpy(), rebuilt, rtol=1e-4, atol=1e-3)
