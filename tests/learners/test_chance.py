from __future__ import annotations

import torch
from small_streams import CPU, declared_stream, problem_of, rows_of, values

from nlbench import Batch, Problem
from nlbench.learners.chance import Chance
from nlbench.learners.config import ChanceConfig

CLASSES = torch.ones(3, dtype=torch.bool)


def learner(seeds: tuple[int, ...] = (0, 1)) -> Chance:
    return Chance(ChanceConfig(kind="chance"), Problem((4,), 3, seeds, "class-il", CPU, "auto", 10))


def test_it_predicts_the_most_frequent_label_so_far_whatever_the_input() -> None:
    made = learner()
    loss = made.observe(Batch(torch.zeros(2, 3, 4), torch.tensor([[2, 2, 0], [1, 0, 1]]), CLASSES, None))
    assert torch.allclose(loss, torch.full((2,), 3.0).log())
    logits = made.predict(torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0)), None)
    assert logits.shape == (2, 5, 3)
    assert logits.argmax(-1).tolist() == [[2] * 5, [1] * 5]
    made.observe(Batch(torch.zeros(2, 4, 4), torch.tensor([[0, 0, 0, 1], [1, 1, 1, 1]]), CLASSES, None))
    assert made.counts.tolist() == [[4, 1, 2], [1, 6, 0]]
    assert made.predict(torch.zeros(1, 1, 4), None).argmax(-1).tolist() == [[0], [1]]


def test_the_loss_is_that_of_the_shares_so_far_with_every_label_counted_once() -> None:
    made = learner((0,))
    made.observe(Batch(torch.zeros(1, 3, 4), torch.tensor([[2, 2, 0]]), CLASSES, None))
    loss = made.observe(Batch(torch.zeros(1, 2, 4), torch.tensor([[2, 1]]), CLASSES, None))
    assert torch.allclose(loss, -(torch.tensor(3 / 6).log() + torch.tensor(1 / 6).log()) / 2)


def test_it_scores_the_share_of_its_label_on_real_data_and_never_more_than_chance() -> None:
    stream = declared_stream("split", [0, 1], tasks=5, scenario="task-il")
    rows = rows_of(Chance(ChanceConfig(kind="chance"), problem_of(stream)), stream)
    chance = values(rows, "chance")
    for (after, task), value in values(rows, "accuracy").items():
        assert value <= chance[None, task]
        if after >= task:
            labels, test = stream.train(task).labels[0].bincount(minlength=10), stream.test(task).labels[0]
            assert value == (test == labels.argmax()).double().mean().item()


def test_bytes_are_per_seed() -> None:
    assert learner((0,)).memory_bytes() == learner((0, 1, 2)).memory_bytes() == {"parameters": 12}
