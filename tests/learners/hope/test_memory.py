from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hope_oracle import OneSeed

from nlbench.errors import NlbenchError
from nlbench.kernels import bind, contexts
from nlbench.learners.hope.config import HopeConfig
from nlbench.learners.hope.memory import LEAST_RIDGE, Memory, _factors, shrinking, values

D, C, B = 24, 4, 8


def config(**table):
    return HopeConfig.model_validate({"kind": "hope", **table})


def memory(seeds, dtype, groups=1, **table):
    like = torch.zeros(seeds, dtype=dtype)
    return Memory(config(**table), D, C, like, bind(contexts, "reference", like), groups)


def learn(made, keys, labels, weights):
    """One chunk of its own: the contexts that it was written to, and what they expected."""
    made.prepare(labels.shape[1])
    found = made.assign(keys, labels)
    made.write(keys, labels, found.chosen, weights)
    made.gather(weights.sqrt()[..., None] * keys)
    made.samples += labels.shape[1]
    return found


def read(keys, reading, classes):
    """Each class's best context (S, N, C)."""
    return values(keys, reading, classes).amax(2)


@cache
def chunks(kind, seeds, dtype=torch.float64, number=40):
    """Clusters around class means: one world, or three whose labels contradict each other and come back, or new inputs each."""
    found = []
    for step in range(number):
        world = {"one": 0, "relabelled": step // 8 % 3, "permuted": step // 14}[kind]
        keys, labels = [], []
        for seed in seeds:
            fixed, draw = np.random.default_rng([seed, 1]), np.random.default_rng([seed, step])
            means, order = fixed.normal(size=(C, D - 1)), [fixed.permutation(D - 1) for _ in range(3)]
            y = draw.integers(C, size=B)
            x = means[y] + 0.4 * draw.normal(size=(B, D - 1))
            x = x[:, order[world]] if kind == "permuted" else x
            keys.append(np.hstack([x, np.ones((B, 1))]))
            labels.append((y + world) % C if kind == "relabelled" else y)
        found.append((torch.tensor(np.array(keys), dtype=dtype), torch.tensor(np.array(labels))))
    return found


@cache
def taught(kind, seeds, dtype=torch.float64, **table):
    made, weights = memory(len(seeds), dtype, **table), torch.tensor(np.random.default_rng(0).uniform(1, 2, (40, B)), dtype=dtype)
    found = []
    for (keys, labels), weight in zip(chunks(kind, seeds, dtype), weights, strict=True):
        found.append(learn(made, keys, labels, weight.expand(len(seeds), -1)))
    return made, *(torch.stack(each, 1) for each in zip(*found, strict=True))


@cache
def oracles(kind, seeds, groups=1):
    weights = np.random.default_rng(0).uniform(1, 2, (40, B))
    made, found = [OneSeed(D, C, groups) for _ in seeds], []
    for (keys, labels), weight in zip(chunks(kind, seeds), weights, strict=True):
        own = zip(made, keys.numpy(), labels.numpy(), strict=True)
        found.append([])
        for one, x, y in own:
            found[-1].append(one.assign(x, y))
            one.write(x, y, found[-1][-1][0], weight)
    return made, *(np.stack([[one[i] for one in each] for each in found], 1) for i in range(3))


SEEDS = (3, 4, 5)
TESTS = torch.tensor(np.random.default_rng(9).normal(size=(30, D)))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(("kind", "number"), [("one", 1), ("relabelled", 3), ("permuted", 3)])
def test_decisions_and_readings_are_those_of_the_equations(kind, number, groups):
    made, chosen, *held = taught(kind, SEEDS, groups=groups)
    expected, decisions, *likely = oracles(kind, SEEDS, groups)
    assert (chosen.numpy() == decisions).all()
    np.testing.assert_allclose(held, likely, rtol=1e-7, atol=1e-12)
    assert made.values.used.tolist() == [len(one.b) for one in expected] == [number] * 3
    readings = read(TESTS.expand(3, -1, -1), made.solve(), C).numpy()
    for seed, one in enumerate(expected):
        np.testing.assert_allclose(readings[seed], one.read(TESTS.numpy()), rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(made.values.doubts[seed], one.psi[:number], rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(made.values.belief[seed], one.b[:number], rtol=1e-12)
        np.testing.assert_allclose(made.dimension[seed], one.dimension, rtol=1e-9)


@pytest.mark.parametrize("kind", ["one", "relabelled", "permuted"])
def test_float32_decides_alike_and_reads_within_its_rounding(kind):
    exact, rounded = taught(kind, SEEDS), taught(kind, SEEDS, torch.float32)
    assert torch.equal(exact[1], rounded[1])
    tests = TESTS.expand(3, -1, -1)
    expected, found = (read(tests.to(made.dimension.dtype), made.solve(), C).double() for made, *_ in (exact, rounded))
    assert (expected - found).abs().max() <= 1e-4 * expected.abs().max()


def test_a_seed_is_alone_what_it_is_among_others_even_where_others_open_more_contexts():
    made, *_ = taught("relabelled", SEEDS)
    alone, *_ = taught("relabelled", SEEDS[1:2])
    torch.testing.assert_close(made.solve().weights[1], alone.solve().weights[0], rtol=1e-9, atol=1e-9)


def test_contexts_are_opened_where_labels_contradict_and_found_again_when_they_return():
    _, chosen, *_ = taught("relabelled", SEEDS)
    worlds = torch.arange(40) // 8 % 3
    assert (chosen == worlds).all()


def test_what_contradicts_is_doubted_and_a_world_that_came_back_is_not():
    made, *_ = taught("relabelled", SEEDS)  # the last chunks are of the second world
    assert (made.values.doubts[:, 1] == 0).all()
    assert (made.values.doubts[:, [0, 2]] < -50).all()
    keys, labels = chunks("relabelled", SEEDS)[-1]
    assert (read(keys, made.solve(), C).argmax(2) == labels).double().mean() > 0.95
    undoubted, *_ = taught("relabelled", SEEDS, doubt=0)
    assert (read(keys, undoubted.solve(), C).argmax(2) == labels).double().mean() < 0.7


def test_one_context_in_the_metric_of_keys_is_ridge_regression():
    made, *_ = taught("one", SEEDS, contexts=1, metric="keys", ridge=3.0)
    weights = torch.tensor(np.random.default_rng(0).uniform(1, 2, (40, B))).flatten()
    keys, labels = (torch.cat(each, 1) for each in zip(*chunks("one", SEEDS), strict=True))
    gram = keys.mT @ (weights[:, None] * keys) + 3.0 * torch.eye(D, dtype=torch.float64)
    values = torch.nn.functional.one_hot(labels, C).double() * weights[:, None]
    expected = TESTS @ torch.cholesky_solve(keys.mT @ values, torch.linalg.cholesky(gram))
    torch.testing.assert_close(read(TESTS.expand(3, -1, -1), made.solve(), C), expected)


@pytest.mark.parametrize("metric", ["surprises", "keys"])
def test_groups_read_what_as_many_memories_of_theirs_read_on_average(metric):
    whole, parts = taught("one", SEEDS, groups=3, metric=metric)[0].solve(), []
    for own in torch.arange(D).split(D // 3):
        alone = Memory(config(metric=metric), D // 3, C, torch.zeros(3).double(), bind(contexts, "reference", torch.zeros(3)))
        weights = torch.tensor(np.random.default_rng(0).uniform(1, 2, (40, B)))
        for (keys, labels), weight in zip(chunks("one", SEEDS), weights, strict=True):
            alone.values.used.fill_(1)
            alone.write(keys[..., own], labels, torch.zeros(3, dtype=torch.int64), weight.expand(3, -1))
            alone.gather(weight.sqrt()[:, None] * keys[..., own])
            alone.samples += B
        parts.append(alone.solve())
    torch.testing.assert_close(whole.weights, torch.cat([part.weights for part in parts], 2) / 3)
    torch.testing.assert_close(whole.offsets, sum(part.offsets for part in parts) / 3)
    torch.testing.assert_close(whole.ridge, sum(part.ridge for part in parts) / 3)


def test_contexts_run_out_without_harm():
    made, chosen, *_ = taught("relabelled", SEEDS, contexts=2)
    assert made.values.used.tolist() == [2, 2, 2]
    assert int(chosen.max()) == 1


@pytest.mark.parametrize("samples", [30, 200, 2000])
def test_a_gram_is_shrunk_to_where_it_is_nearest_to_what_it_is_of(samples):
    """Of Gaussian samples: to within a hundredth of the best ridge of a fine grid, by squared error, on average over draws."""
    draw = torch.Generator().manual_seed(samples)
    width = 40
    root = torch.diag(torch.linspace(0.1, 3, width, dtype=torch.float64))
    truth = root.square()
    rows = torch.randn(300, samples, width, generator=draw, dtype=torch.float64) @ root
    grams = rows.mT @ rows
    own = shrinking(grams, torch.full((300,), float(samples), dtype=torch.float64))

    def error(shares):
        mean = grams.diagonal(dim1=1, dim2=2).mean(1) / samples
        shrunk = (1 - shares)[:, None, None] * grams / samples + (shares * mean)[:, None, None] * torch.eye(width)
        return float((shrunk - truth).square().sum((1, 2)).mean())

    share = own / (own + grams.diagonal(dim1=1, dim2=2).mean(1))
    best = min(error(torch.full((300,), each)) for each in torch.linspace(0, 1, 101, dtype=torch.float64))
    nothing = error(torch.zeros(300, dtype=torch.float64))
    assert error(share) - best < 0.05 * (nothing - best) + 0.01 * best


def test_where_hardly_anything_was_seen_half_is_kept_and_where_nothing_varies_a_ridge_is_left():
    grams = torch.zeros(2, 50, 50, dtype=torch.float64)
    grams[0, :3, :3] = torch.eye(3)
    free = torch.tensor([1.0, 100.0], dtype=torch.float64)
    few, none = shrinking(grams, free)
    assert few == pytest.approx(3 / 50)
    assert none == 0
    like = torch.zeros(1)
    made = Memory(config(contexts=1), 20, C, like, bind(contexts, "reference", like))
    learn(made, torch.ones(1, 8, 20), torch.zeros(1, 8, dtype=torch.int64), torch.ones(1, 8))
    assert made.solve().ridge.tolist() == pytest.approx([LEAST_RIDGE])


@pytest.mark.parametrize("ridge", [0.3, 3.0, 10.0])
def test_the_ridge_is_the_one_asked_for_at_many_keys_in_float32(ridge):
    like = torch.zeros(1)
    made = Memory(config(ridge=ridge, contexts=1), 300, C, like, bind(contexts, "reference", like))
    draw = torch.Generator().manual_seed(0)
    for _ in range(30):
        keys = torch.randn(1, 1000, 300, generator=draw).abs()
        learn(made, keys, torch.randint(C, (1, 1000), generator=draw), torch.ones(1, 1000))
    assert made.solve().ridge.tolist() == pytest.approx([ridge])


def test_a_ridge_is_raised_by_what_a_gram_was_rounded_by_where_that_left_it_indefinite():
    """The first matrix is definite and keeps its ridge; the second lacks more than a thousand ridges."""
    matrices = torch.diag_embed(torch.tensor([[3.0, 2.0, 1.0], [9.0, 5.0, -200.0]], dtype=torch.float64))
    ridges, rounding = torch.full((2,), 0.1, dtype=torch.float64), torch.tensor([7.0, 7.0], dtype=torch.float64)
    factors, added = _factors(matrices.clone(), ridges, rounding)
    assert added.tolist() == [0.1, 700.0]
    torch.testing.assert_close(factors @ factors.mT, matrices + torch.diag_embed(added[:, None].expand(2, 3)))
    with pytest.raises(NlbenchError, match="not positive definite"):
        _factors(matrices.clone(), ridges, 0 * rounding)
