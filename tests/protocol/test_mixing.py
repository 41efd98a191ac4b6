"""A block tells no learner which task it is from: one that votes over its block gains nothing."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from small_streams import Spy, problem_of, rows_of, running, small_stream, small_tasks
from torch import Tensor

from nlbench import seeds as draws
from nlbench.errors import NlbenchError
from nlbench.protocol.mixing import Probe, agree, mixed
from nlbench.protocol.schedule import FILLERS, PROBED
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


def asked_of(sizes, count, others=(), size=7):
    """Return the samples that a probe asks again, by task, all in one block, and those it puts beside them."""
    probe = Probe(sizes, count)
    for task, n in sizes.items():
        for first in range(0, n, size):
            drawn = probe.drawn(task, first, min(size, n - first))
            if drawn:
                probe.keep(samples(n, task).inputs[None, first:][:, drawn], torch.zeros(1, len(drawn), 2))
    asked = []

    def predict(inputs):
        asked.append(inputs)
        return torch.zeros(1, inputs.shape[1], 2)

    assert probe.independent(predict, others, lambda task: samples(30, task))
    found = {}
    for value in asked[0].flatten().long().tolist() if asked else ():
        found.setdefault(value // 1000, []).append(value % 1000)
    return found


def test_a_probe_asks_of_all_tasks_alike_and_of_what_is_small_all():
    found = asked_of(dict.fromkeys(range(1, 21), 30), PROBED)
    assert sum(map(len, found.values())) == PROBED
    assert {len(rows) for rows in found.values()} == {PROBED // 20, PROBED // 20 + 1}
    assert all(len(set(rows)) == len(rows) for rows in found.values())
    found = asked_of({1: 3, 2: 200}, 20)
    assert sorted(found[1]) == [0, 1, 2]
    assert len(found[2]) == 17


def test_nobody_can_foresee_what_is_asked():
    drawn = [asked_of({1: 200, 2: 200}, 16) for _ in range(60)]
    assert len({tuple(sorted(found[1])) for found in drawn}) > 50
    assert {row // 50 for found in drawn for row in found[2]} == {0, 1, 2, 3}
    assert {task for _ in range(60) for task in asked_of(dict.fromkeys(range(1, 7), 9), 2)} == set(range(1, 7))


def test_a_task_alone_is_asked_as_a_minority():
    found = asked_of({3: 30}, 10, others=(1, 2))
    assert len(found.pop(3)) == 10
    assert [len(rows) for rows in found.values()] == [FILLERS * 10]
    assert asked_of({3: 30}, 10) == {}


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


class Careful(Voting):
    """Votes but for a share of the rows, those that a fixed draw would probe."""

    kept = 16

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        voted, n = super().predict(inputs, task), inputs.shape[1]
        careful = torch.from_numpy(draws.permutation((draws.FIXED,), "evaluation/probe/1", n)[0, : self.kept])
        voted[:, careful] = Honest.predict(self, inputs, task)[:, careful]
        return voted


class WithinVoting(Voting):
    """Votes only where it is measured within tasks: on at most 300 rows of one task."""

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        boundary = len(self.batches) % 5 == 0
        return Honest.predict(self, inputs, task) if boundary else super().predict(inputs, task)


class Recalling(Voting):
    """Votes, and answers from memory what it is asked again; then it has forgotten."""

    memory: ClassVar[dict[bytes, Tensor]] = {}

    def state_dict(self) -> dict[str, Tensor]:
        return {str(key): value for key, value in self.memory.items()}

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        logits = super().predict(inputs, task)
        keys = [row.numpy().tobytes() for row in inputs[0]]
        if all(key in self.memory for key in keys):
            logits = torch.stack([self.memory[key] for key in keys], 1)
            self.memory.clear()
        else:
            self.memory.update(zip(keys, logits.unbind(1), strict=True))
        return logits


def stream_of(**options):
    generator = torch.Generator().manual_seed(3)
    tasks = []
    for first in (0, 2, 4):
        labels = torch.randint(first, first + 2, (400,), generator=generator)
        noise = 1.2 * torch.randn(400, 6, generator=generator)
        inputs = (noise + torch.nn.functional.one_hot(labels, 6)).numpy()
        tasks.append((inputs[:50], labels[:50].numpy(), inputs, labels.numpy()))
    return running(small_stream(tasks=tasks, batch=10, **options), [0, 1])


def accuracy(kind, **options):
    stream = stream_of(**options)
    rows = rows_of(kind({}, problem_of(stream)), stream)
    found = [row.value for row in rows if row.metric == "accuracy" and row.after_task == 3]
    within = [row.value for row in rows if row.metric == "accuracy_within" and row.after_task == 3]
    return sum(found) / len(found), sum(within) / max(len(within), 1)


def test_voting_but_for_some_rows_gains_nothing():
    honest, voted = accuracy(Honest), accuracy(Careful)
    assert voted[0] < honest[0]


@pytest.mark.parametrize(
    ("kind", "metric", "options"),
    [(Voting, "accuracy", {"evaluate": "window:1"}), (WithinVoting, "accuracy_within", {"evaluate_every": 20})],
)
def test_voting_where_one_task_is_measured_or_only_within_tasks_gains_nothing(kind, metric, options, monkeypatch):
    def mean(kind):
        stream = stream_of(**options)
        found = [row.value for row in rows_of(kind({}, problem_of(stream)), stream) if row.metric == metric]
        return sum(found) / len(found)

    honest, voted = mean(Honest), mean(kind)
    monkeypatch.setattr(Probe, "independent", lambda self, predict, others, shown: True)
    unwatched = mean(kind)
    assert unwatched > honest + 0.1
    assert voted - honest < 0.15 * (unwatched - honest)  # what a vote among other tasks' samples happens to hit


def test_what_is_asked_again_cannot_be_answered_from_memory():
    with pytest.raises(NlbenchError, match=r"Recalling\.predict must change nothing"):
        accuracy(Recalling)


@pytest.mark.parametrize("scenario", ["class-il", "domain-il"])
def test_voting_over_a_block_gains_nothing(scenario):
    honest, voted = (accuracy(kind, scenario=scenario, evaluate_every=20) for kind in (Honest, Voting))
    assert voted[0] < honest[0]
    assert voted[1] < honest[1]


def test_without_mixing_it_would_gain(monkeypatch):
    monkeypatch.setattr(Probe, "independent", lambda self, predict, others, shown: True)
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


class Marking(Voting):
    """Writes into its inputs, where torch does not count it, which task it takes the block to be of; so marked, a row says so."""

    outside = True

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        logits = super().predict(inputs, task)
        marked = inputs[0, :, 0] > 100
        logits[:, marked] = torch.nn.functional.one_hot(inputs[0, marked, 0].long() - 200, 6).float()
        inputs.numpy()[..., 0] = 200 + logits[:1].argmax(-1)
        return logits


def test_a_mark_on_a_row_is_gone_when_it_is_asked_again():
    honest, marked = (accuracy(kind, evaluate_every=20) for kind in (Honest, Marking))
    assert marked[0] < honest[0]
    assert marked[1] < honest[1]
