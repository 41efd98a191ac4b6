"""Learners broken on purpose, one rule each: the check of that rule catches it, and says so."""

from __future__ import annotations

import inspect
import itertools
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from nlbench import Batch, Learner, Problem, seeds
from nlbench.conformance import Candidate, Examination, examine
from nlbench.conformance.checks import CHECKS, stored_samples
from nlbench.conformance.examining import tried
from nlbench.conformance.material import SHAPE, trying
from nlbench.plan import Machine


class Means(Learner):
    """Mean inputs of each class, all seeds at once: keeps every rule, and what is broken below is broken here."""

    def __init__(self, config: Any, problem: Problem) -> None:
        shape = (len(problem.seeds), problem.n_classes, problem.n_inputs)
        self.sums = torch.from_numpy(seeds.normal(problem.seeds, "learner/means", shape[1:]))
        self.counts = torch.ones(shape[:2])

    def observe(self, batch: Batch) -> Tensor:
        chosen = torch.nn.functional.one_hot(batch.labels, self.counts.shape[1]).float()
        self.sums += chosen.transpose(1, 2) @ batch.inputs.flatten(2)
        self.counts += chosen.sum(1)
        return torch.zeros(len(self.sums))

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return -torch.cdist(inputs.flatten(2).expand(len(self.sums), -1, -1), self.sums / self.counts[..., None])

    def permute_inputs(self, order: Tensor) -> None:
        self.sums = self.sums.gather(2, order[:, None].expand_as(self.sums))


def examined(kind: type[Learner]) -> Examination:
    return examine(Candidate.of(kind, {}, Machine(device="cpu"), SHAPE))


def test_every_rule_is_kept_by_one_that_breaks_none():
    found = examined(Means)
    assert found.passed
    assert [each.verdict for each in found.findings] == ["kept"] * len(CHECKS) + ["reported"] * 2


class WrongShape(Means):
    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return super().predict(inputs, task)[:, :, :2]


class Raising(Means):
    def observe(self, batch: Batch) -> Tensor:
        raise ValueError(f"no batch of {batch.task}")


class Undeclared(Means):
    """Counts on a task that it does not say it needs."""

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return super().predict(inputs, task) * (task + 1)


_TICKS = itertools.count()


class Ticking(Means):
    """Draws from what goes on from one of its kind to the next."""

    def observe(self, batch: Batch) -> Tensor:
        self.sums += 0.1 * float(torch.tensor(float(next(_TICKS))).sin())
        return super().observe(batch)


class Pooling(Means):
    """Takes a mean over the seed axis."""

    def observe(self, batch: Batch) -> Tensor:
        return super().observe(Batch(batch.inputs.mean(0).expand_as(batch.inputs), batch.labels, batch.classes, batch.task))


class Forgetful(Means):
    """Saves the sums and not the counts."""

    def state_dict(self) -> dict[str, Tensor]:
        return {"sums": self.sums}

    def load_state_dict(self, saved: Any) -> None:
        self.sums = saved["sums"].clone()


class Asked(Means):
    """Learns from what it is asked."""

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        self.sums += 1e-3 * inputs.flatten(2).mean(1, keepdim=True)
        return super().predict(inputs, task)


class Voting(Means):
    """Centres the rows it is asked."""

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return super().predict(inputs - inputs.mean(1, keepdim=True), task)


class Climbing(Means):
    """Looks for labels in the frames that called it, which a harness that mixes tasks leaves empty."""

    needs = ("task",)

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        logits, frame = super().predict(inputs, task), inspect.currentframe()
        while frame is not None:
            labels = frame.f_locals.get("labels")
            if isinstance(labels, Tensor) and labels.shape[-1] == logits.shape[1]:
                return torch.nn.functional.one_hot(labels, logits.shape[2]).float().expand_as(logits)
            frame = frame.f_back
        return logits


class Hoarding(Means):
    """Keeps what it saw and says nothing of it."""

    def __init__(self, config: Any, problem: Problem) -> None:
        super().__init__(config, problem)
        self.seen: list[Tensor] = []

    def observe(self, batch: Batch) -> Tensor:
        self.seen.append(batch.inputs.half().flatten(2))
        return super().observe(batch)


class Rehearsing(Hoarding):
    """Goes over all it keeps with every batch."""

    def observe(self, batch: Batch) -> Tensor:
        losses = super().observe(batch)
        for inputs in self.seen:
            inputs.float() @ inputs.float().transpose(1, 2)
        return losses


class Cramming(Hoarding):
    """Goes a hundred times over what it declares to keep when a task ends."""

    needs = ("boundaries",)

    def end_task(self) -> None:
        for _ in range(100):
            for inputs in self.seen:
                inputs.float() @ inputs.float().transpose(1, 2)

    def memory_bytes(self) -> dict[str, int]:
        return {"samples": sum(part[0].numel() * 4 for part in self.seen)}


class Standing(Means):
    """Moves nothing when its inputs are permuted."""

    def permute_inputs(self, order: Tensor) -> None:
        pass


FAULTS = [
    (WrongShape, "answers"),
    (Raising, "answers"),
    (Undeclared, "answers"),
    (Ticking, "deterministic"),
    (Pooling, "seed-independent"),
    (Forgetful, "resumable"),
    (Asked, "pure evaluation"),
    (Voting, "independent rows"),
    (Climbing, "told only"),
    (Hoarding, "stored samples"),
    (Rehearsing, "one pass"),
    (Cramming, "one pass"),
    (Standing, "permutation"),
]


@pytest.mark.parametrize(("kind", "check"), FAULTS, ids=lambda value: getattr(value, "__name__", value))
def test_what_breaks_a_rule_is_caught_by_its_check(kind, check):
    candidate = Candidate.of(kind, {}, Machine(device="cpu"), SHAPE)
    (asked,) = [each for each in CHECKS if each.name == check]
    with trying(candidate):
        assert tried(asked, candidate)
        for each in CHECKS:
            if each.name in asked.rests_on:
                assert not tried(each, candidate), f"{kind.__name__} is caught for {each.name} alone"


class Declared(Cramming):
    exempt: ClassVar[dict[str, str]] = {"one pass": "goes over its buffer at the end of each task"}


def test_what_is_exempt_by_nature_is_shown_and_not_asked():
    found = examined(Declared)
    (one,) = [each for each in found.findings if each.check == "one pass"]
    assert found.passed
    assert (one.verdict, one.seen) == ("exempt", "goes over its buffer at the end of each task")


class Alone(Learner):
    """A module of one seed, with dropout and momentum."""

    single_seed = True

    def __init__(self, config: Any, problem: Problem) -> None:
        layers = torch.nn.Linear(problem.n_inputs, 16), torch.nn.Dropout(), torch.nn.Linear(16, problem.n_classes)
        self.network = torch.nn.Sequential(torch.nn.Flatten(), *layers)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.1, momentum=0.9)

    def observe(self, batch: Batch) -> Tensor:
        self.network.train()
        with torch.enable_grad():
            loss = torch.nn.functional.cross_entropy(self.network(batch.inputs), batch.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return self.network.eval()(inputs)


def test_a_module_of_one_seed_with_dropout_and_momentum_keeps_every_rule():
    assert not examined(Alone).broken


class Kept(Alone):
    """Keeps the samples of its one seed."""

    def __init__(self, config: Any, problem: Problem) -> None:
        super().__init__(config, problem)
        self.seen: list[Tensor] = []

    def observe(self, batch: Batch) -> Tensor:
        self.seen.append(batch.inputs)
        return super().observe(batch)


class Billed(Kept):
    def memory_bytes(self) -> dict[str, int]:
        return {"samples": sum(part.nbytes for part in self.seen)}


def test_samples_of_a_learner_of_one_seed_are_found_too_and_may_be_declared():
    assert stored_samples(Candidate.of(Kept, {}, Machine(device="cpu"), SHAPE))
    assert not stored_samples(Candidate.of(Billed, {}, Machine(device="cpu"), SHAPE))
