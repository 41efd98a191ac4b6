"""The best comes first with how sure it is, who may be as good, and whether it lies at an edge."""

from __future__ import annotations

from dataclasses import replace

import pytest

import nlbench
from nlbench.tune import TUNING_SEEDS, Range, Search, Trial, finish

SPACE = {"learner.rate": ["0.1", "0.3", "1.0"]}


def search(trials: list[Trial], space: object = SPACE, objective: str = "average_accuracy") -> Search:
    plan = nlbench.resolve("mlp", "split-digits", seeds=TUNING_SEEDS)
    return finish(plan, space, 4, 3, objective, trials)  # type: ignore[arg-type]


def test_the_best_comes_first_and_what_diverged_last() -> None:
    trials = [Trial({"learner.rate": str(i)}, score, {}, 0.0) for i, score in enumerate((0.2, None, 0.9))]
    found = search(trials)
    assert [trial.score for trial in found.trials] == [0.9, 0.2, None]
    assert [trial.score for trial in search(trials, objective="forgetting").trials] == [0.2, 0.9, None]
    assert found.rule == "a fixed 20% of the training sets of tasks 1 to 3, learned in order from the rest"
    assert found.interval is None
    assert found.tied == ()


def test_how_sure_the_best_is_and_who_may_be_as_good() -> None:
    best = Trial({"learner.rate": "0.3"}, 0.8, {}, 0.0, (0.79, 0.80, 0.81))
    alike = Trial({"learner.rate": "0.1"}, 0.79, {}, 0.0, (0.80, 0.78, 0.79))
    worse = Trial({"learner.rate": "1.0"}, 0.6, {}, 0.0, (0.59, 0.60, 0.61))
    found = search([worse, best, alike])
    assert found.interval is not None
    assert found.interval.mean == pytest.approx(0.8)
    assert found.interval.high - found.interval.mean == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-4)  # t.975, 2 degrees
    assert found.tied == (alike,)


@pytest.mark.parametrize(
    ("space", "best", "edge"),
    [
        (["0.1", "0.3", "1.0"], "1.0", True),
        (["0.1", "0.3", "1.0"], "0.1", True),
        (["1.0", "0.1", "0.3"], "0.3", False),
        (["0.0", "0.5", "0.9"], "0.0", False),
        (["[8]", "[16]"], "[16]", False),
        (["true", "false"], "true", False),
        (["0.3"], "0.3", False),
        (Range(1e-4, 1.0, log=True, whole=False), "0.0001", True),
        (Range(1e-4, 1.0, log=True, whole=False), "0.01", False),
        (Range(16, 256, log=False, whole=True), "250", True),
    ],
)
def test_a_best_value_at_an_edge_is_named(space: object, best: str, edge: bool) -> None:
    found = search([Trial({"learner.rate": best}, 0.8, {}, 0.0)], {"learner.rate": space})
    assert found.edges == (("learner.rate",) if edge else ())
    assert replace(found, trials=(Trial({"learner.rate": best}, None, {}, 0.0),)).edges == ()
