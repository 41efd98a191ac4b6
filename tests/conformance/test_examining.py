from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from quick_cases import recipes, sampled
from small_streams import smaller
from torch import Tensor

from nlbench import Batch, Learner, NlbenchError, Problem
from nlbench.conformance import Candidate, examine
from nlbench.conformance.material import SHAPE
from nlbench.plan import Machine


@pytest.mark.parametrize("model", recipes(sampled()))
def test_every_shipped_learner_keeps_every_rule(model):
    found = examine(Candidate.of(model, smaller(model, "split-digits"), Machine(device="cpu"), SHAPE))
    assert not found.broken, str(found)


def test_a_recipe_of_many_passes_is_not_blamed_for_them():
    found = examine(Candidate.of("joint", {"learner.kind": "naive"}, Machine(device="cpu"), SHAPE))
    assert not found.broken, str(found)


class Impure(Learner):
    def __init__(self, config: Any, problem: Problem) -> None:
        self.asked = torch.zeros(len(problem.seeds), 1, problem.n_classes)

    def observe(self, batch: Batch) -> Tensor:
        return torch.zeros(len(self.asked))

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        self.asked += 1
        return self.asked.expand(-1, inputs.shape[1], -1)


def examined(kind: type[Learner]):
    return examine(Candidate.of(kind, {}, Machine(device="cpu"), SHAPE))


def test_a_rule_that_rests_on_a_broken_one_is_not_asked():
    found = {each.check: each for each in examined(Impure).findings}
    assert found["pure evaluation"].verdict == "broken"
    assert found["told only"].verdict == "not asked"
    assert "pure evaluation" in found["told only"].seen


def test_of_one_that_is_never_the_same_neither_seeds_nor_rows_are_blamed():
    drawn = np.random.default_rng()  # no seed: what it draws, nobody repeats

    class Random(Impure):
        def observe(self, batch: Batch) -> Tensor:
            self.asked += float(drawn.random())
            return torch.zeros(len(self.asked))

    found = {each.check: each for each in examined(Random).findings}
    assert found["deterministic"].verdict == "broken"
    for name in ("pure evaluation", "seed-independent", "independent rows"):
        assert (found[name].verdict, found[name].seen) == ("not asked", "it rests on what is broken: deterministic")


def test_of_one_that_cannot_answer_nothing_else_is_asked():
    class Silent(Learner):
        def observe(self, batch: Batch) -> Tensor:
            return torch.zeros(3)

        def predict(self, inputs: Tensor, task: int | None) -> Tensor:
            return torch.full((3, inputs.shape[1], 6), torch.nan)

    assert [each.check for each in examined(Silent).findings] == ["answers"]


def test_an_exemption_from_no_check_is_refused():
    class Mistyped(Impure):
        exempt: ClassVar[dict[str, str]] = {"one pas": "why"}

    with pytest.raises(NlbenchError, match="Did you mean one pass"):
        examined(Mistyped)


def test_a_learner_is_met_under_the_poorest_terms_that_it_needs():
    class Telling(Impure):
        needs = ("boundaries", "task")

        def predict(self, inputs: Tensor, task: int | None) -> Tensor:
            assert task is not None
            return torch.zeros(3, inputs.shape[1], 6)

    assert examined(Telling).terms == "task-il, told the task and boundaries"
    assert examined(Impure).terms == "class-il, told nothing"


def test_the_bound_is_put_beside_nothing():
    found = examine(Candidate.of("chance", {}, Machine(device="cpu"), SHAPE))
    assert {each.check for each in found.findings if each.verdict == "exempt"} == {"beside chance", "beside naive"}
