"""What a buffer keeps and draws, against loops a sample and the statistics that each policy promises."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_streams import CPU, small_stream
from torch import Tensor

import nlbench
from nlbench import Batch, Buffer, Learner, NlbenchError, Problem
from nlbench.learners import writing
from nlbench.learners.buffer import first
from nlbench.state import collect, restore

C = 4


def problem(seeds: tuple[int, ...] = (0, 1, 2)) -> Problem:
    return Problem((1,), C, seeds, "class-il", CPU, "auto", 10)


def numbered(first_: int, last: int, seeds: int = 3) -> Tensor:
    """Samples that are told by their number."""
    return torch.arange(first_, last).float()[None, :, None].expand(seeds, -1, -1)


def filled(policy: str, labels: Tensor, capacity: int = 12, batch: int = 5, seeds: tuple[int, ...] = (0, 1, 2)) -> Buffer:
    """A buffer that was offered samples 0, 1, … with these labels (n,)."""
    buffer = Buffer(capacity, problem(seeds), policy=policy)  # type: ignore[arg-type]
    for start in range(0, len(labels), batch):
        part = labels[start : start + batch]
        buffer.add(numbered(start, start + len(part), len(seeds)), part.repeat(len(seeds), 1))
    return buffer


def kept(buffer: Buffer) -> list[list[int]]:
    """The numbers of the samples of each seed."""
    return [sorted(row[there].int().tolist()) for row, there in zip(buffer.fields["inputs"][..., 0], buffer.filled, strict=True)]


@pytest.mark.parametrize("policy", ["reservoir", "balanced", "ring"])
@pytest.mark.parametrize("shared", [False, True])
def test_what_is_written_by_shape_alone_is_the_same_to_the_bit(
    monkeypatch: pytest.MonkeyPatch, policy: str, shared: bool
) -> None:
    def offered() -> Buffer:
        buffer = Buffer(7, problem(), policy=policy, extras={"twice": torch.empty(2)})  # type: ignore[arg-type]
        for number, own in enumerate(draws):  # at first all are kept, later few, of some seeds none; a batch of more than places
            inputs = (
                numbered(number, number + own.shape[1], seeds=1 if shared else 3)
                + torch.arange(1 if shared else 3)[:, None, None]
            )
            where = own % 2 == 0 if number % 3 else None
            buffer.add(inputs, own, where=where, twice=torch.stack([own, own], -1).float())
        return buffer

    generator = torch.Generator().manual_seed(1)
    draws = [torch.randint(C, (3, n), generator=generator) for n in (3, 9, *[4] * 30, 1)]
    wanted = offered()
    monkeypatch.setattr(writing, "by_place", writing.by_shape)
    made = offered()
    assert (made.keys == wanted.keys).all()
    assert all((made.fields[name] == value).all() for name, value in wanted.fields.items())


def test_adding_nothing_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "by_place", writing.by_shape)
    buffer = Buffer(4, problem())
    buffer.add(numbered(0, 0), torch.zeros(3, 0, dtype=torch.int64))
    assert buffer.empty
    assert not buffer.filled.any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("policy", ["reservoir", "balanced", "ring"])
def test_a_gpu_keeps_what_a_cpu_keeps_and_waits_for_nothing(policy: str) -> None:
    on_gpu = replace(problem(), device=torch.device("cuda"))
    buffers = [Buffer(20, each, policy=policy, extras={"twice": torch.empty(1)}) for each in (problem(), on_gpu)]  # type: ignore[arg-type]
    twice = torch.zeros(3, 5, 1)
    for buffer in buffers:
        written = twice.to(buffer.keys.device)
        for start in range(0, 200, 5):
            inputs = numbered(start, start + 5).to(written.device)
            written.copy_(2 * inputs)  # the same tensor each time, as a captured step writes it
            labels = inputs[..., 0].long() % C
            if start > 10:
                torch.cuda.set_sync_debug_mode("error")
            buffer.add(inputs, labels, twice=written)
            torch.cuda.set_sync_debug_mode("default")
    assert (buffers[0].keys == buffers[1].keys.cpu()).all()
    assert all((value == buffers[1].fields[name].cpu()).all() for name, value in buffers[0].fields.items())


def labels_of(n: int, *shares: int) -> Tensor:
    """n labels in which class c comes up in proportion to shares[c], one class after another as in a split stream."""
    return torch.repeat_interleave(torch.arange(len(shares)), torch.tensor(shares))[:n]


@pytest.mark.parametrize("policy", ["reservoir", "balanced", "ring"])
def test_what_came_together_stays_together_and_everything_is_kept_while_there_is_room(policy: str) -> None:
    buffer = Buffer(9, problem(), policy=policy, extras={"twice": torch.empty(2)})  # type: ignore[arg-type]
    assert buffer.empty
    for start in range(0, 30, 3):
        inputs = numbered(start, start + 3)
        buffer.add(inputs, inputs[..., 0].long() % C, twice=inputs * torch.tensor([2.0, 4.0]))
        if start == 6:
            assert kept(buffer) == [list(range(9))] * 3
    assert not buffer.empty
    assert buffer.filled.all()
    assert torch.equal(buffer.fields["labels"], buffer.fields["inputs"][..., 0].long() % C)
    assert torch.equal(buffer.fields["twice"], buffer.fields["inputs"] * torch.tensor([2.0, 4.0]))
    assert all(len(set(row)) == 9 for row in kept(buffer))


def test_a_reservoir_keeps_every_sample_with_the_same_probability() -> None:
    seeds = tuple(range(600))
    counts = Counter(number for row in kept(filled("reservoir", torch.zeros(60).long(), 12, 7, seeds)) for number in row)
    expected = 600 * 12 / 60
    statistic = sum((counts[number] - expected) ** 2 / expected for number in range(60)) / (1 - 12 / 60)
    assert statistic < 98.3  # chi-square of 59 degrees: once in a thousand


def test_what_a_balanced_buffer_keeps_is_even_at_every_moment_and_of_a_class_each_sample_as_likely() -> None:
    labels = torch.cat([labels_of(60, 30, 30), 2 + labels_of(33, 30, 3)])
    sizes = {30: [12], 60: [6, 6], 90: [4, 4, 4], 93: [3, 3, 3, 3]}
    for n, wanted in sizes.items():
        buffer = filled("balanced", labels[:n])
        for row in buffer.fields["labels"]:
            assert torch.bincount(row).tolist() == wanted
    seeds = tuple(range(1000, 1400))
    counts = Counter(number for row in kept(filled("balanced", labels, seeds=seeds)) for number in row)
    for start, stop in ((0, 30), (30, 60), (60, 90)):
        expected = 400 * 3 / 30
        statistic = sum((counts[number] - expected) ** 2 / expected for number in range(start, stop)) / (1 - 3 / 30)
        assert statistic < 58.3  # of 29 degrees: once in a thousand
    assert all(counts[number] == 400 for number in range(90, 93))


def test_a_ring_keeps_the_newest_of_each_class_and_of_another_field_where_it_is_told() -> None:
    labels = torch.tensor([0, 1, 0, 1, 0, 1, 2, 2, 2, 2, 2, 2, 1])
    assert kept(filled("ring", labels, 6)) == [[2, 4, 5, 10, 11, 12]] * 3
    buffer = Buffer(4, problem(), policy="ring", groups="task", extras={"task": torch.empty((), dtype=torch.int64)})
    for task in range(3):
        buffer.add(numbered(4 * task, 4 * task + 4), torch.zeros(3, 4).long(), task=torch.full((3, 4), task))
    assert [row[-1] for row in kept(buffer)] == [11] * 3
    assert all(
        sorted(row) == [0, 1, 2, 2] or sorted(Counter(row).values()) == [1, 1, 2] for row in buffer.fields["task"].tolist()
    )


def test_a_herding_buffer_gives_room_by_dropping_the_highest_ranks() -> None:
    buffer = Buffer(8, problem(), policy="herding")
    ranks = torch.tensor([3, 0, 2, 1, 0, 2, 1, 3]).repeat(3, 1)
    buffer.add(numbered(0, 8), labels_of(8, 4, 4).repeat(3, 1), ranks=ranks)
    assert kept(buffer) == [list(range(8))] * 3
    buffer.add(numbered(8, 12), torch.full((3, 4), 2), ranks=torch.tensor([9, 9, 0, 1]).repeat(3, 1))
    for row in kept(buffer):
        assert {1, 3, 4, 6, 10, 11} < set(row)  # ranks 0 and 1 of each class
        assert len(row) == 8


def test_draws_are_without_repetition_until_all_were_drawn_and_even() -> None:
    buffer = filled("reservoir", torch.zeros(40).long())
    for _ in range(3):
        drawn = buffer.sample(30)["inputs"][..., 0]
        assert drawn.shape == (3, 30)
        for row, there in zip(drawn.int().tolist(), kept(buffer), strict=True):
            assert sorted(row[:12]) == sorted(row[12:24]) == there
            assert len(set(row[24:])) == 6
    small = filled("reservoir", torch.zeros(3).long())
    assert sorted(small.sample(6)["inputs"][0, :, 0].int().tolist()) == [0, 0, 1, 1, 2, 2]
    counts = torch.bincount(torch.cat([buffer.places(4) for _ in range(600)]).flatten(), minlength=12)
    expected = 3 * 600 * 4 / 12
    assert ((counts - expected) ** 2 / expected).sum() / (1 - 4 / 12) < 31.3  # of 11 degrees: once in a thousand


def test_a_stratified_draw_has_as_many_of_each_class() -> None:
    labels = labels_of(12, 8, 2, 2)
    buffer = filled("reservoir", labels)
    for _ in range(20):
        assert [torch.bincount(row).tolist() for row in buffer.sample(6, stratified=True)["labels"]] == [[2, 2, 2]] * 3
    rarest = [buffer.sample(1, stratified=True)["labels"][0, 0].item() for _ in range(60)]
    assert set(rarest) == {0, 1, 2}


@pytest.mark.parametrize("policy", ["reservoir", "balanced", "ring"])
def test_a_seed_alone_is_as_it_is_among_others(policy: str) -> None:
    labels = labels_of(60, 20, 20, 20)
    many, alone = filled(policy, labels), filled(policy, labels, seeds=(1,))
    for stratified in (False, True):
        assert torch.equal(many.sample(7, stratified=stratified)["inputs"][1:2], alone.sample(7, stratified=stratified)["inputs"])
    assert (policy == "ring") == (kept(many)[0] == kept(many)[1])


def test_it_resumes_bit_equal_and_nothing_drawn_is_shared() -> None:
    labels = labels_of(60, 20, 20, 20)
    for policy in ("reservoir", "balanced", "ring"):
        buffer, other = filled(policy, labels[:30]), filled(policy, labels[:10])
        buffer.sample(3)
        restore(other, {name: value.clone() for name, value in collect(buffer).items()})
        for start in (30, 40, 50):
            for each in (buffer, other):
                each.add(numbered(start, start + 10), labels[start : start + 10].repeat(3, 1))
            assert torch.equal(buffer.sample(5)["inputs"], other.sample(5)["inputs"])
        assert all(torch.equal(value, collect(other)[name]) for name, value in collect(buffer).items())


def test_what_is_not_to_be_kept_is_not_kept() -> None:
    buffer = Buffer(5, problem(), policy="balanced")
    for start in range(0, 20, 4):
        numbers = numbered(start, start + 4)
        buffer.add(numbers, numbers[..., 0].long() % 2, where=numbers[..., 0] % 4 != 1)
        assert all(number % 4 != 1 for row in kept(buffer) for number in row)
    assert buffer.filled.all()


def test_the_first_of_groups_are_as_many_of_each() -> None:
    keys, groups = torch.tensor([[5, 1, 4, 2, 3, 0]]), torch.tensor([[0, 0, 0, 0, 1, 2]])
    assert first(keys, 6).tolist() == [[5, 1, 3, 4, 2, 0]]
    assert first(keys, 6, groups).tolist() == [[5, 1, 4, 3, 2, 0]]


def test_errors_name_what_is_wrong_and_the_way_out() -> None:
    with pytest.raises(NlbenchError, match=r"unknown policy 'resevoir'. Did you mean reservoir"):
        Buffer(5, problem(), policy="resevoir")  # type: ignore[arg-type]
    with pytest.raises(NlbenchError, match="at least one place, got 0"):
        Buffer(0, problem())
    with pytest.raises(NlbenchError, match="unknown field 'tsk'"):
        Buffer(5, problem(), policy="ring", groups="tsk")
    with pytest.raises(NlbenchError, match="a buffer is given inputs, labels, ranks, got inputs, labels"):
        Buffer(5, problem(), policy="herding").add(numbered(0, 2), torch.zeros(3, 2).long())
    with pytest.raises(NlbenchError, match="a buffer is given inputs, labels, got inputs, labels, logits"):
        Buffer(5, problem()).add(numbered(0, 2), torch.zeros(3, 2).long(), logits=torch.zeros(3, 2, C))


def test_what_was_never_added_to_is_not_drawn_from() -> None:
    buffer = Buffer(5, problem())
    for draw in (buffer.sample, buffer.places):
        with pytest.raises(NlbenchError, match="a buffer is empty, and 2 samples were asked of it"):
            draw(2)
    assert buffer.sample(0)["labels"].shape == (3, 0)
    buffer.add(numbered(0, 2), torch.zeros(3, 2, dtype=torch.int64))
    assert buffer.sample(2)["labels"].shape == (3, 2)
    with pytest.raises(NlbenchError, match="a buffer draws 0 samples or more, got -1"):
        buffer.sample(-1)
    buffer.clear()
    with pytest.raises(NlbenchError, match="a buffer is empty"):
        buffer.sample(1)


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        ((2, 1), (2,), r"inputs of shape \(3, B, 1\), got \(2, 1\)"),
        ((3, 2, 1), (2,), r"inputs of shape \(3, B, 1\), got \(3, 2, 1\)"),
        ((3, 2, 1), (2, 2), r"labels of shape \(3, 2\), got \(2, 2\)"),
        ((2, 2, 1), (3, 2), r"inputs of shape \(3, 2, 1\), got \(2, 2, 1\)"),
        ((3, 4, 1), (3, 2), r"inputs of shape \(3, 2, 1\), got \(3, 4, 1\)"),
        ((3, 2, 5), (3, 2), r"inputs of shape \(3, 2, 1\), got \(3, 2, 5\)"),
        ((3, 2, 1), (), r"inputs of shape \(3, B, 1\), got \(3, 2, 1\)"),
    ],
)
def test_samples_of_another_shape_are_refused(inputs: tuple[int, ...], labels: tuple[int, ...], message: str) -> None:
    with pytest.raises(NlbenchError, match=message):
        Buffer(5, problem()).add(torch.zeros(inputs), torch.zeros(labels, dtype=torch.int64))


class Hoarder(Learner):
    """A learner of one's own that stores samples and answers with the label of the nearest."""

    def __init__(self, config: object, problem: Problem) -> None:
        self.buffer = Buffer(10, problem)
        self.counts = torch.zeros(len(problem.seeds), problem.n_classes)

    def observe(self, batch: Batch) -> Tensor:
        self.buffer.add(batch.inputs, batch.labels)
        return torch.zeros(len(batch.labels))

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        stored, (seeds, n_classes) = self.buffer.fields, self.counts.shape
        nearest = torch.cdist(inputs.expand(seeds, *inputs.shape[1:]), stored["inputs"]).argmin(2)
        return torch.nn.functional.one_hot(stored["labels"].gather(1, nearest), n_classes).float()


def test_a_learner_of_one_s_own_is_billed_for_what_it_stores(tmp_path: Path) -> None:
    rows = nlbench.run(Hoarder, small_stream(), seeds=2, results=tmp_path).to_pandas()
    sizes = rows[rows.metric.str.startswith("bytes.")].groupby("metric").value.unique()
    assert {name: values.tolist() for name, values in sizes.items()} == {
        "bytes.samples": [10 * (6 * 4 + 8 + 8) + 24],
        "bytes.parameters": [6 * 4],
    }
