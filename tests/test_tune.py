"""A search without leaks: which candidates are tried, on what they are judged, and in what order they come out."""

from __future__ import annotations

import pytest

import nlbench
from nlbench import tune as tuning
from nlbench.errors import NlbenchError
from nlbench.plan import Machine
from nlbench.tune import Trial, candidates, finish, tune

SPACE = {"learner.rate": ["0.001", "0.3"], "learner.hidden": ["[8]", "[16]"]}


def resolve(values):
    return nlbench.resolve("mlp", "split-digits", seeds=tuning.TUNING_SEEDS, overrides=dict(values))


def test_the_grid_is_tried_where_it_fits_and_otherwise_a_fixed_part_of_it():
    grid = candidates(SPACE, 4)
    rates, hidden = SPACE["learner.rate"], SPACE["learner.hidden"]
    assert grid == [{"learner.rate": rate, "learner.hidden": widths} for rate in rates for widths in hidden]
    part = candidates(SPACE, 3)
    assert len(part) == 3
    assert part == candidates(SPACE, 3)
    assert all(point in grid for point in part)


def test_candidates_are_judged_on_held_out_training_samples_alone(monkeypatch):
    built = []
    real = tuning.build_stream

    def watched(plan, machine):
        stream = real(plan, machine)
        monkeypatch.setattr(stream, "test", lambda task: pytest.fail("a test set was read"))
        built.append(stream)
        return stream

    monkeypatch.setattr(tuning, "build_stream", watched)
    trials = list(tune(resolve, {"learner.rate": ["0.001", "0.3"]}, 8, 2, "average_accuracy", Machine(device="cpu")))
    assert built
    assert [trial.values for trial in trials] == [{"learner.rate": "0.001"}, {"learner.rate": "0.3"}]
    assert trials[1].score > trials[0].score


@pytest.mark.parametrize(
    ("space", "objective", "message"),
    [
        ({}, "average_accuracy", "the search space is empty"),
        ({"protocol.passes": ["2"]}, "average_accuracy", r"protocol\.passes: a search varies learner\.<key> and batch only"),
        ({"learner.rate": ["0.1"]}, "accuracy", "objective must be a metric"),
        ({"learner.rate": ["0.1"]}, "intransigence", "cannot be measured"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(space, objective, message):
    with pytest.raises(NlbenchError, match=message):
        next(tune(resolve, space, 4, 3, objective, Machine(device="cpu")))


def test_the_best_comes_first_and_what_diverged_last():
    trials = [Trial({"learner.rate": str(i)}, score, {}, 0.0) for i, score in enumerate((0.2, None, 0.9))]
    found = finish(resolve({}), SPACE, 4, 3, "average_accuracy", trials)
    assert [trial.score for trial in found.trials] == [0.9, 0.2, None]
    least = finish(resolve({}), SPACE, 4, 3, "forgetting", trials)
    assert [trial.score for trial in least.trials] == [0.2, 0.9, None]
    assert found.rule == "a fixed 20% of the training sets of tasks 1 to 3, learned in order from the rest"
