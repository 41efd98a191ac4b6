"""What is right of what a learner predicts, what is not finite, and which rules a prediction breaks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_streams import Spy, mlp, problem_of, rows_of, running, small_stream, small_tasks, values
from torch import Tensor

from nlbench import Batch, Learner
from nlbench import seeds as draws
from nlbench.errors import NlbenchError, NotFiniteError
from nlbench.protocol.evaluation import COPIED, Evaluation, Finiteness, unchanged
from nlbench.protocol.measured import BLOCK
from nlbench.protocol.order import PixelOrder
from nlbench.protocol.schedule import PROBED
from nlbench.streams.stream import Stream

# counts


class Answering(Spy):
    """Answers each seed's own label, +1 for the second seed; notes the sizes of its blocks."""

    sizes: tuple[int, ...] = ()

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        self.sizes = (*self.sizes, inputs.shape[1])
        self.predicted.append((inputs, task))
        logits = torch.zeros(2, inputs.shape[1], self.problem.n_classes)
        logits[0, :, 0] = logits[1, :, 1] = 1.0
        return logits


def evaluation_of(stream: Stream, learner: Learner) -> Evaluation:
    return Evaluation(learner, stream, PixelOrder(learner, stream, mixed=False), Finiteness(stream.seeds))


def test_counts_are_of_whole_test_sets_in_blocks_and_of_fixed_subsamples() -> None:
    stream = running(small_stream(tasks=small_tasks(2, n_test=[2 * BLOCK + 3, 20]), scenario="class-il"), [4, 9])
    learner = Answering({}, problem_of(stream))
    evaluation = evaluation_of(stream, learner)
    whole = evaluation.whole(range(1, 3), tasks_seen=2)
    assert learner.sizes == (BLOCK, BLOCK, 3, 20, PROBED)
    labels = stream.test(1).labels[0]
    assert [(count.task, count.n) for count in whole] == [(1, 2 * BLOCK + 3), (2, 20)]
    assert whole[0].right.tolist() == [int((labels == 0).sum()), int((labels == 1).sum())]
    assert whole[1].right.tolist() == [0, 0]
    within = evaluation.within([1, 2], tasks_seen=2)
    assert [(count.task, count.n) for count in within] == [(1, 500), (2, 20)]
    chosen = torch.from_numpy(draws.permutation([draws.FIXED], "evaluation/1", 2 * BLOCK + 3)[0, :500])
    assert within[0].right.tolist() == [int((labels[chosen] == 0).sum()), int((labels[chosen] == 1).sum())]


class Fixed(Spy):
    """Gives label l the logit -|l - favourite|, so that the winner among the competing labels is the one nearest to it."""

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        logits = -(torch.arange(self.problem.n_classes) - 2.1).abs()
        return logits.expand(len(self.problem.seeds), inputs.shape[1], -1)


@pytest.mark.parametrize(
    ("scenario", "space", "winners"),
    [
        # the label that wins on tasks 1, 2, 3 in rows 0..3
        ("task-il", None, [[1, 2, 4]] * 4),
        ("class-il", "all", [[2, 2, 2]] * 4),
        ("class-il", "seen", [[2, 2, 2], [1, 1, 1], [2, 2, 2], [2, 2, 2]]),
    ],
)
def test_the_harness_masks_test_logits(scenario: str, space: str | None, winners: list[list[int]]) -> None:
    stream = running(small_stream(scenario=scenario, **({"output_space": space} if space else {})))
    found = values(rows_of(Fixed({}, problem_of(stream)), stream), "accuracy")
    for (after, task), value in found.items():
        share = (stream.test(task).labels == winners[after][task - 1]).double().mean().item()
        assert value == share


def test_values_within_tasks_are_accuracies_on_a_fixed_subsample() -> None:
    stream = running(small_stream(tasks=small_tasks(2, n_test=600), evaluate_every=16), [0, 2])
    learner = mlp(stream)
    rows = rows_of(learner, stream)
    chosen = torch.from_numpy(draws.permutation([draws.FIXED], "evaluation/1", 600)[0, :500])
    samples = stream.test(1)
    right = learner.predict(samples.inputs[None, chosen], None).argmax(-1) == samples.labels[0, chosen]
    last = [row for row in rows if row.metric == "accuracy_within" and row.after_task == 2 and row.on_task == 1]
    assert [(row.seed, row.value, row.n) for row in last] == [
        (seed, right[i].double().mean().item(), 500) for i, seed in ((0, 0), (1, 2))
    ]
    start = {
        row.seed: row.value for row in rows if row.metric == "accuracy_within" and (row.after_task, row.samples_seen) == (0, 0)
    }
    right = mlp(stream).predict(samples.inputs[None, chosen], None).argmax(-1) == samples.labels[0, chosen]
    assert start == {0: right[0].double().mean().item(), 2: right[1].double().mean().item()}


# what is not finite

EVERY = torch.ones(4, dtype=torch.bool)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_the_first_loss_that_is_not_finite_is_named_however_many_came_at_once(bad: float) -> None:
    losses = torch.zeros(7, 2)
    losses[4, 1] = losses[5, 0] = bad
    for cut in (1, 3, 7):
        finite = Finiteness((4, 9))
        finite.begin(2)
        for part in losses.split(cut):
            finite.observed(part[0] if cut == 1 else part)
        with pytest.raises(NotFiniteError, match=rf"seed 9, task 2, step 5: the loss is {bad}") as caught:
            finite.end()
        assert caught.value.diverged == {seed: f"task 2, step {step}: the loss is {bad}" for seed, step in ((9, 5), (4, 6))}
        with pytest.raises(NotFiniteError, match=rf"seed 9, task 2, step 5: the loss is {bad}"):
            finite.check(torch.full((2, 3, 4), float("nan")), EVERY)
        finite.check(torch.zeros(2, 3, 4), EVERY)  # what is finite reads nothing else
        finite.begin(3)
        finite.end()


def test_logits_are_named_by_the_steps_before_them() -> None:
    finite, logits = Finiteness((4, 9)), torch.zeros(2, 3, 4)
    logits[1, 2, 3] = float("nan")
    with pytest.raises(NotFiniteError, match="seed 9, before the first task: a logit is not finite"):
        finite.check(logits, EVERY)
    finite.begin(1)
    finite.observed(torch.zeros(5, 2))
    finite.observed(torch.zeros(2))
    with pytest.raises(NotFiniteError, match="seed 9, task 1, step 6: a logit is not finite"):
        finite.check(logits, EVERY)
    for step in range(4):
        finite.foreseen(logits if step == 2 else torch.zeros(2, 3, 4), EVERY)
    with pytest.raises(NotFiniteError, match="seed 9, task 1, step 2: a logit is not finite"):
        finite.end()


def test_a_class_may_be_masked_but_not_all_that_compete() -> None:
    logits, classes = torch.zeros(2, 3, 4), torch.tensor([True, True, False, False])
    logits[:, :, 1:] = -torch.inf
    finite = Finiteness((4, 9))
    finite.check(logits, classes)
    finite.check(logits, EVERY)
    with pytest.raises(NotFiniteError, match=r"seed 4, .*: all logits that compete are -inf\.") as caught:
        finite.check(logits, ~classes)
    assert "rate" not in str(caught.value)
    logits[1, 2, 0] = -torch.inf
    with pytest.raises(NotFiniteError, match=r"seed 9, .*: all logits that compete are -inf"):
        finite.check(logits, EVERY)
    finite.begin(1)
    for shown in (torch.zeros(2, 3, 4), logits):
        finite.foreseen(shown, classes)
    with pytest.raises(NotFiniteError, match="seed 9, task 1, step 1: all logits that compete are -inf"):
        finite.end()
    logits[0, 0, 3] = torch.inf
    with pytest.raises(NotFiniteError, match="seed 4, task 1, step 0: a logit is not finite"):
        finite.check(logits, classes)


@pytest.mark.parametrize("scenario", ["class-il", "task-il"])
def test_a_learner_that_masks_the_classes_it_has_not_seen_is_measured(scenario: str) -> None:
    class Masking(Spy):
        def predict(self, inputs: Tensor, task: int | None) -> Tensor:
            hidden = [False, False, *[True] * 4] if task is None else [number // 2 != task - 1 for number in range(6)]
            return super().predict(inputs, task).masked_fill(torch.tensor(hidden), -torch.inf)

    stream = running(small_stream(scenario=scenario, prequential=True), [4, 9])
    rows = rows_of(Masking({}, problem_of(stream)), stream)
    assert values(rows, "accuracy", 9)[3, 1] == 0.5


class Breaking(Spy):
    """Gives a loss or a logit that is not finite from one step of one task on, for the second seed."""

    def __init__(self, stream: Stream, step: int, *, loss: float = 0.0, logit: float = 0.0) -> None:
        super().__init__({}, problem_of(stream))
        self.step, self.loss, self.logit = step, loss, logit

    def observe(self, batch: Batch) -> Tensor:
        losses = super().observe(batch)
        losses[1] = self.loss if len(self.batches) >= self.step else 0.0
        return losses

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        logits = super().predict(inputs, task).clone()
        logits[1, -1, -1] = self.logit if len(self.batches) >= self.step else 0.0
        return logits


@pytest.mark.parametrize("protocol", [{}, {"evaluate_every": 8}, {"prequential": True}])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("logit", [0.0, float("nan")])
def test_a_loss_that_is_not_finite_names_seed_task_and_step(value: float, logit: float, protocol: dict[str, Any]) -> None:
    stream = running(small_stream(**protocol), [4, 9])
    with pytest.raises(NotFiniteError, match=rf"seed 9, task 2, step 3: the loss is {value}\. No record was written\."):
        rows_of(Breaking(stream, 5 + 3, loss=value, logit=logit), stream)


def test_a_loss_that_is_not_finite_is_named_before_a_learner_s_own_algebra_fails() -> None:
    class Decomposing(Breaking):
        def end_task(self) -> None:
            torch.linalg.svd(torch.full((3, 3), self.loss if len(self.batches) >= self.step else 0.0))

    stream = running(small_stream(boundaries=True), [4, 9])
    with pytest.raises(NotFiniteError, match="seed 9, task 2, step 3: the loss is nan"):
        rows_of(Decomposing(stream, 5 + 3, loss=float("nan")), stream)


@pytest.mark.parametrize(("protocol", "step"), [({}, 5), ({"evaluate_every": 8}, 3), ({"prequential": True}, 3)])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_logit_that_is_not_finite_names_seed_task_and_step(value: float, protocol: dict[str, Any], step: int) -> None:
    stream = running(small_stream(**protocol), [4, 9])
    with pytest.raises(NotFiniteError, match=rf"seed 9, task 2, step {step}: a logit is not finite\. No record was written\."):
        rows_of(Breaking(stream, 5 + 3, logit=value), stream)


def test_a_logit_that_is_not_finite_before_any_training_says_so() -> None:
    stream = running(small_stream(), [4, 9])
    with pytest.raises(NotFiniteError, match="seed 9, before the first task: a logit is not finite"):
        rows_of(Breaking(stream, 0, logit=float("nan")), stream)


def test_a_rate_that_is_too_high_is_reported_where_it_happens() -> None:
    stream = running(small_stream(evaluate="final"))
    with pytest.raises(NotFiniteError, match=r"seed 0, task \d, step \d"):
        rows_of(mlp(stream, rate=1e30), stream)


# predictions that break the rules


class Holding(Learner):
    def __init__(self, **tensors: Tensor) -> None:
        vars(self).update(tensors)


@pytest.mark.parametrize("copied", [0, COPIED])
@pytest.mark.parametrize("change", ["one bit", "NaN for a number", "another shape"])
def test_what_changes_while_it_should_not_is_named(change: str, copied: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nlbench.protocol.evaluation.COPIED", copied)
    learner = Holding(kept=torch.tensor([1.0, float("nan")]), counted=torch.tensor([3]), other=torch.zeros(2))
    with unchanged(learner):
        learner.kept = learner.kept.clone()  # equal values, NaN included, are the same

    def predict() -> None:
        with unchanged(learner):
            learner.counted += 1
            if change == "one bit":
                learner.kept[0] = torch.nextafter(learner.kept[0], torch.tensor(2.0))
            else:
                learner.kept = torch.full((2,), float("nan")) if change == "NaN for a number" else torch.ones(3)

    with pytest.raises(NlbenchError, match=r"Holding\.predict must change nothing, but changed kept\."):
        predict()


class Faulty(Spy):
    """Predicts as a spy does, and breaks one rule on the way."""

    fault = ""

    def __init__(self, stream: Stream) -> None:
        super().__init__({}, problem_of(stream))
        self.statistics = torch.zeros(len(stream.seeds), 3)
        self.trained = False

    def state_dict(self) -> dict[str, Tensor]:
        return {"statistics": self.statistics}

    def observe(self, batch: Batch) -> Tensor:
        self.trained = True
        return super().observe(batch)

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        logits = super().predict(inputs, task)
        if self.fault == "writes":
            inputs.zero_()
        if self.fault == "learns" and self.trained:
            self.statistics += 1.0
        return {"one seed": logits[:1], "no seeds": logits[0], "one sample": logits[:, :1]}.get(self.fault, logits)


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("one seed", r"must return logits \(S, N, C\) = \(2, 20, 6\), got \(1, 20, 6\)"),
        ("no seeds", r"must return logits \(S, N, C\) = \(2, 20, 6\), got \(20, 6\)"),
        ("one sample", r"must return logits \(S, N, C\) = \(2, 20, 6\), got \(2, 1, 6\)"),
        ("writes", "must not write to its inputs"),
        ("learns", "must change nothing, but changed statistics"),
    ],
)
def test_a_prediction_that_breaks_a_rule_is_refused_by_name(fault: str, rule: str) -> None:
    stream = running(small_stream(), [4, 9])
    learner = Faulty(stream)
    rows_of(learner, stream)
    learner = Faulty(stream)
    learner.fault = fault
    with pytest.raises(NlbenchError, match=rf"Faulty\.predict {rule}"):
        rows_of(learner, stream)
