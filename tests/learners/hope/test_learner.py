from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_streams import CPU, declared_stream, problem_of, rows_of, values

from nlbench import Batch, Problem
from nlbench.batch import Batches
from nlbench.learners.hope.config import HopeConfig
from nlbench.learners.hope.learner import Hope

S, B, C, SHAPE = 2, 8, 4, (1, 8, 8)


def learner(seeds=(0, 1), shape=SHAPE, sample="image", **table):
    problem = Problem(shape, C, seeds, "class-il", CPU, "auto", 100)
    return Hope(HopeConfig.model_validate({"kind": "hope", "width": 45, **table}), replace(problem, sample=sample))


def batch(step, seeds=(0, 1), shape=SHAPE):
    draws = [torch.Generator().manual_seed(1000 * step + seed) for seed in seeds]
    labels = torch.stack([torch.randint(C, (B,), generator=draw) for draw in draws])
    noise = torch.stack([torch.randn(B, *shape, generator=draw) for draw in draws])
    means = torch.randn(C, *shape, generator=torch.Generator().manual_seed(7))
    return Batch(means[labels] + noise, labels, torch.ones(C, dtype=torch.bool), None)


def taught(steps=30, seeds=(0, 1), **table):
    made = learner(seeds, **table)
    losses = [made.observe(batch(step, seeds, table.get("shape", SHAPE))) for step in range(steps)]
    return made, torch.stack(losses)


def test_many_batches_at_once_are_one_after_another():
    one, losses = taught()
    shown = [batch(step) for step in range(30)]
    inputs = torch.cat([each.inputs.flatten(0, 1) for each in shown])
    rows = torch.arange(len(inputs)).view(30, S, B).transpose(0, 1).flatten(1)
    labels = torch.cat([each.labels for each in shown], 1)
    many = learner()
    found = many.observe_batches(Batches(inputs, rows, labels, B, shown[0].classes, None))
    assert torch.equal(found, losses)
    tests = batch(99).inputs
    assert torch.equal(many.predict(tests, None), one.predict(tests, None))


def test_losses_fall_and_what_was_seen_is_read():
    made, losses = taught(60)
    assert losses[-10:].mean() < 0.5 * losses[:10].mean()
    tests = batch(99)
    assert (made.predict(tests.inputs, None).argmax(2) == tests.labels).double().mean() > 0.8


@pytest.mark.parametrize("batches", [1, 8, 20])
def test_a_stream_of_few_batches_is_learned_too(batches):
    made, _ = taught(batches)
    tests = batch(0)
    assert (made.predict(tests.inputs, None).argmax(2) == tests.labels).double().mean() > 0.9


def test_what_is_read_is_never_older_than_what_was_written():
    made, _ = taught()
    tests = batch(99).inputs
    before = made.predict(tests, None)
    made.observe(batch(30))
    after = made.predict(tests, None)
    fresh, _ = taught(31)
    torch.testing.assert_close(after, fresh.predict(tests, None))
    assert not torch.equal(before, after)


def test_reading_leaves_learning_as_it_was():
    read, _ = taught(20, contexts=3)
    kept, _ = taught(20, contexts=3)
    for made in (read, kept):
        for step in range(20, 40):
            if made is read:
                made.predict(batch(99).inputs, None)
            made.observe(batch(step))
    for name, value in kept.state_dict().items():
        assert torch.equal(value, read.state_dict()[name]), name


@pytest.mark.parametrize("table", [{}, {"shape": (9,), "sample": "vector"}])
def test_a_resumed_learner_goes_on_to_the_bit(table):
    straight, _ = taught(30, **table)
    half, _ = taught(13, **table)
    other, _ = taught(3, **table)
    other.predict(batch(99, shape=table.get("shape", SHAPE)).inputs, None)
    other.load_state_dict(half.state_dict())
    for step in range(13, 30):
        other.observe(batch(step, shape=table.get("shape", SHAPE)))
    tests = batch(99, shape=table.get("shape", SHAPE)).inputs
    assert torch.equal(other.predict(tests, None), straight.predict(tests, None))


def test_a_seed_learns_alone_what_it_learns_among_others():
    together, alone = taught(30, (0, 1))[0], taught(30, (1,))[0]
    tests = batch(99).inputs[:1]
    torch.testing.assert_close(together.predict(tests, None)[1:], alone.predict(tests, None), rtol=1e-3, atol=1e-2)


SWITCHES = [
    {"filters": False},
    {"metric": "keys"},
    {"contexts": 1},
    {"doubt": 0.0},
    {"rates": False},
]


@pytest.mark.parametrize("off", SWITCHES, ids=lambda off: next(iter(off)))
def test_every_part_is_a_switch_that_changes_what_is_read_where_labels_contradict(off):
    def readings(table):
        made = learner(**table)
        for step in range(48):
            made.observe(turned(batch(step), step))
        return made.predict(batch(99).inputs, None)

    assert not torch.allclose(readings({}), readings(off), atol=1e-3)


def turned(shown, step):
    """The labels of a world of its own every 16 steps."""
    return Batch(shown.inputs, (shown.labels + step // 16) % C, shown.classes, None)


def test_bytes_are_those_of_the_gram_the_filters_and_the_contexts_found():
    made, _ = taught()
    width, contexts = made.keys.width, made.memory.used.double().mean()
    values = contexts * C
    assert made.memory_bytes() == {
        "parameters": 4 * 5 * 9,
        "memory": int(4 * (width**2 + width + 30 * B * width + values * (2 * width + 4))),
    }


@pytest.mark.parametrize(("kind", "least", "most"), [({"kind": "split", "tasks": 5, "scenario": "class-il"}, 0.97, 0.01)])
def test_split_digits_are_kept(kind, least, most):
    stream = declared_stream(kind.pop("kind"), **kind)
    rows = rows_of(Hope(HopeConfig(kind="hope"), problem_of(stream)), stream)
    accuracy = values(rows, "accuracy")
    final = [accuracy[5, task] for task in range(1, 6)]
    assert sum(final) / 5 >= least
    assert sum(accuracy[task, task] - accuracy[5, task] for task in range(1, 5)) / 4 <= most
