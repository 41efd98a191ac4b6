"""A block tells no learner which task it is from: one that votes over its block gains nothing."""

from __future__ import annotations

import pytest
import torch
from small_streams import Spy, problem_of, rows_of, running, small_stream, small_tasks
from torch import Tensor

from nlbench.protocol.evaluation import BLOCK
from nlbench.protocol.mixing import Probe, agree, mixed
from nlbench.protocol.schedule import PROBED_SAMPLES, PROBED_TASKS
from nlbench.streams.stream import Samples


def samples(n, task, seeds=1):
    inputs = task * 1000 + torch.arange(float(n))[:, None]
    rows = torch.stack([torch.arange(n).roll(seed) for seed in range(seeds)])
    return Samples(inputs, rows, rows % 7)


def test_every_sample_stands_in_one_block_beside_its_label():
    tasks = {1: samples(30, 1), 4: samples(7, 4, seeds=2), 5: samples(50, 5)}
    seen, sizes = {1: [], 4: [], 5: []}, []
    for inputs, parts in mixed(tasks, 20):
        sizes.append(inputs.shape[1])
        for task, labels, places in parts:
            shown = inputs[:, places, 0].long() - task * 1000
            assert torch.equal(shown % 7, labels.expand_as(shown))
            seen[task].append(shown)
    assert sizes == [20, 20, 20, 20, 7]
    for task, own in tasks.items():
        found = torch.cat([each.expand(2, -1) for each in seen[task]], 1).sort(1).values
        assert torch.equal(found, torch.arange(len(own)).expand(2, -1))


def test_blocks_hold_all_tasks():
    for _, parts in mixed({task: samples(40, task) for task in (1, 2, 3)}, 30):
        assert {part.task for part in parts} == {1, 2, 3}


def test_readings_agree_up_to_rounding_and_where_they_are_infinite():
    reading = torch.randn(2, 5, 3) * torch.tensor([1.0, 1e4])[:, None, None]
    reading[:, :, 0] = -torch.inf
    assert agree(reading, reading * (1 + 1e-6))
    voted = reading.clone()
    voted[0, 2, 1] += 0.1
    assert not agree(reading, voted)
    voted = reading.clone()
    voted[1, 4, 0] = 0.0
    assert not agree(reading, voted)


def test_a_probe_asks_some_tasks_from_the_first_to_the_last():
    probe = Probe(range(1, 21), BLOCK)
    for task in range(1, 21):
        probe.keep(task, samples(30, task), torch.zeros(1, 30, 2))
    asked = []
    assert probe.independent(lambda inputs: asked.append(inputs) or torch.zeros(1, inputs.shape[1], 2))
    tasks = sorted({int(value) for value in (asked[0] // 1000).flatten()})
    assert (tasks[0], tasks[-1], len(tasks)) == (1, 20, PROBED_TASKS)
    assert asked[0].shape[1] == PROBED_TASKS * PROBED_SAMPLES
    assert Probe([3], BLOCK).independent(lambda inputs: pytest.fail("one task cannot be mixed"))


class Honest(Spy):
    """Knows each task's classes well and the right one among them a little: 2 tasks of 2 classes."""

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return inputs.flatten(2).expand(len(self.problem.seeds), -1, -1)[..., : self.problem.n_classes]


class Voting(Honest):
    """Lets the rows of a block vote on the task that they are from."""

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        logits = super().predict(inputs, task)
        votes = logits.unflatten(-1, (-1, 2)).amax(-1).softmax(-1).mean(1)
        return logits + 100 * votes.repeat_interleave(2, -1)[:, None]


def accuracy(kind, **options):
    generator = torch.Generator().manual_seed(3)
    tasks = []
    for first in (0, 2, 4):
        labels = torch.randint(first, first + 2, (400,), generator=generator)
        noise = 1.2 * torch.randn(400, 6, generator=generator)
        inputs = (noise + torch.nn.functional.one_hot(labels, 6)).numpy()
        tasks.append((inputs[:50], labels[:50].numpy(), inputs, labels.numpy()))
    stream = running(small_stream(tasks=tasks, batch=10, **options), [0, 1])
    rows = rows_of(kind({}, problem_of(stream)), stream)
    found = [row.value for row in rows if row.metric == "accuracy" and row.after_task == 3]
    within = [row.value for row in rows if row.metric == "accuracy_within" and row.after_task == 3]
    return sum(found) / len(found), sum(within) / max(len(within), 1)


@pytest.mark.parametrize("scenario", ["class-il", "domain-il"])
def test_voting_over_a_block_gains_nothing(scenario):
    honest, voted = (accuracy(kind, scenario=scenario, evaluate_every=20) for kind in (Honest, Voting))
    assert voted[0] < honest[0]
    assert voted[1] < honest[1]


def test_without_mixing_it_would_gain(monkeypatch):
    monkeypatch.setattr(Probe, "independent", lambda self, predict: True)
    assert accuracy(Voting)[0] > accuracy(Honest)[0] + 0.1


def test_where_the_task_is_told_nothing_is_mixed():
    assert accuracy(Voting, scenario="task-il")[0] >= accuracy(Honest, scenario="task-il")[0]


def test_an_independent_learner_costs_one_block_more_a_boundary():
    stream = running(small_stream(tasks=small_tasks(2)), [0, 1])
    learner = Honest({}, problem_of(stream))
    calls = []
    predict = Honest.predict

    class Counting(Honest):
        def predict(self, inputs: Tensor, task: int | None) -> Tensor:
            calls.append(inputs.shape[1])
            return predict(self, inputs, task)

    learner = Counting({}, problem_of(stream))
    rows_of(learner, stream)
    assert len(calls) == 3 * (2 + 1)
