"""What holds for every analytic learner."""

from __future__ import annotations

import random

import pytest
import torch
from small_analytic import SEEDS, WIDTH, C, held_back, learner, observe, tasks
from small_streams import declared_stream, problem_of, rows_of, values

from nlbench import catalog
from nlbench.batch import needs
from nlbench.learners.analytic.config import NcmConfig, SldaConfig
from nlbench.learners.analytic.ncm import Ncm
from nlbench.learners.analytic.slda import Slda

KINDS = ("ncm", "slda", "fecam", "acil", "ranpac", "randumb")
ANY_ORDER = {"ncm": {}, "fecam": {}, "acil": {}, "ranpac": {"ridges": [0.1]}, "randumb": {}}


@pytest.mark.parametrize("kind", KINDS)
def test_it_resumes_in_the_middle_of_a_task_bit_equal_and_back_to_its_start(kind: str) -> None:
    made, other, shown, x = learner(kind), learner(kind), tasks(), held_back()
    start = {name: value.clone() for name, value in made.state_dict().items()}
    untrained = made.predict(x, None)
    observe(made, shown[:1])
    made.observe(shown[1][0])
    halfway = made.predict(x, None)
    saved = {name: value.clone() for name, value in made.state_dict().items()}
    other.load_state_dict(saved)
    rest = [shown[1][1:], shown[2]]
    for resumed in (made, other):
        observe(resumed, rest)
    assert torch.equal(made.predict(x, None), other.predict(x, None))
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in made.state_dict().items())
    made.load_state_dict(saved)  # no read-out outlives its statistics
    assert torch.equal(made.predict(x, None), halfway)
    made.load_state_dict(start)
    assert torch.equal(made.predict(x, None), untrained)


@pytest.mark.parametrize("kind", ["slda", "fecam", "randumb"])
def test_what_lies_below_the_diagonal_of_its_grams_is_never_read(kind: str) -> None:
    whole, half, shown, x = learner(kind), learner(kind), tasks(), held_back()
    for made in (whole, half):
        observe(made, shown[:1])
    below, poisoned = torch.ones(WIDTH, WIDTH, dtype=torch.bool).tril(-1), 0
    for value in half.state_dict().values():
        if value.shape[-2:] == (WIDTH, WIDTH):
            value.masked_fill_(below, torch.nan)
            poisoned += 1
    assert poisoned
    for made in (whole, half):
        observe(made, shown[1:])
    torch.testing.assert_close(half.predict(x, None), whole.predict(x, None))


@pytest.mark.parametrize("kind", KINDS)
def test_seed_3_alone_equals_itself_among_others(kind: str) -> None:
    many, alone = learner(kind), learner(kind, (3,))
    observe(many, tasks())
    observe(alone, tasks((3,)))
    torch.testing.assert_close(alone.predict(held_back((3,)), None), many.predict(held_back(), None)[2:], rtol=1e-4, atol=1e-4)
    assert alone.memory_bytes() == many.memory_bytes()


@pytest.mark.parametrize("kind", ANY_ORDER)
def test_the_order_of_samples_tasks_and_batches_does_not_matter(kind: str) -> None:
    first, second, shown = learner(kind, **ANY_ORDER[kind]), learner(kind, **ANY_ORDER[kind]), tasks()
    observe(first, shown)
    batches = [batch for task in shown for batch in task]
    random.Random(1).shuffle(batches)
    observe(second, [batches[:4], batches[4:]])
    torch.testing.assert_close(first.predict(held_back(), None), second.predict(held_back(), None), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_changes_nothing_and_no_readout_is_stale(kind: str) -> None:
    asked, silent, shown, x = learner(kind), learner(kind), tasks(), held_back()
    for task in shown:
        for batch in task:
            before = {name: value.clone() for name, value in asked.state_dict().items()}
            asked.predict(x, None)
            assert all(torch.equal(value, before[name]) for name, value in asked.state_dict().items())
            assert torch.equal(asked.observe(batch), silent.observe(batch))
        asked.end_task()
        silent.end_task()
    assert torch.equal(asked.predict(x, None), silent.predict(x, None))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_independent_and_a_class_never_met_is_never_answered(kind: str) -> None:
    made, shown = learner(kind), tasks()
    assert torch.equal(made.predict(held_back(), None), torch.zeros(3, 9, C))
    observe(made, shown[1:2])  # classes 2 and 3
    logits = made.predict(held_back(), None)
    assert set(logits.argmax(-1).flatten().tolist()) <= {2, 3}
    assert logits.isfinite().all()
    torch.testing.assert_close(made.predict(held_back()[:, 4:6], None), logits[:, 4:6], rtol=1e-5, atol=1e-5)
    shared = made.predict(held_back()[:1].repeat(1, 80, 1), None)  # in several parts
    torch.testing.assert_close(shared[:, -9:], shared[:, :9], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(shared[:1, :9], logits[:1], rtol=1e-5, atol=1e-5)


def test_the_loss_is_the_distance_to_the_means_before_the_batch() -> None:
    made, shown = learner("ncm"), tasks()[0]
    x = made.features(shown[0].inputs)
    torch.testing.assert_close(made.observe(shown[0]), x.square().mean((1, 2)) / 2)
    means, y = made.means.of_classes(), made.features(shown[1].inputs)
    own = torch.stack([means[s, shown[1].labels[s]] for s in range(3)])
    torch.testing.assert_close(made.observe(shown[1]), (y - own).square().mean((1, 2)) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_are_those_of_what_the_docstring_says_it_keeps(kind: str) -> None:
    means, gram, drawn = 4 * (C + C * WIDTH), WIDTH**2, 4 * (WIDTH * 5 + WIDTH)
    held = {
        "ncm": 0,
        "slda": 4 * gram,
        "fecam": 4 * (C * gram + C * WIDTH),
        "acil": 8 * (gram + C * WIDTH),
        "ranpac": 12 * (gram + C * WIDTH) + 8,
        "randumb": 4 * gram,
    }[kind]
    sizes = learner(kind).memory_bytes()
    assert sizes["parameters"] == drawn
    assert 0 <= sizes["memory"] - means - held <= 8  # a counter of samples


@pytest.mark.parametrize("kind", KINDS)
def test_the_catalog_says_what_the_class_needs_and_that_it_keeps_something(kind: str) -> None:
    assert catalog.needs(kind) == needs(type(learner(kind, SEEDS)))
    assert catalog.keeps(kind)


def test_a_covariance_beats_plain_means_on_split_digits() -> None:
    stream = declared_stream("split", (0, 1, 2), tasks=5, scenario="class-il", protocol={"evaluate": "final"})
    network = {"kind": "random-relu", "width": 200}
    plain = Ncm(NcmConfig.model_validate({"kind": "ncm", "network": network}), problem_of(stream))
    streaming = Slda(SldaConfig.model_validate({"kind": "slda", "network": network}), problem_of(stream))
    scores = []
    for made in (plain, streaming):
        rows = rows_of(made, stream)
        scores.append([sum(values(rows, "accuracy", seed)[5, task] for task in range(1, 6)) / 5 for seed in stream.seeds])
    assert all(better > worse + 0.04 for worse, better in zip(*scores, strict=True))
    assert min(scores[1]) > 0.93
