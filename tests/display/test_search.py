"""What is shown of a search of a recipe's values."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest
from consoles import written

from nlbench.display import console, search
from nlbench.errors import NlbenchError
from nlbench.tune import Search, Trial

VALUES = {"learner.rate": "0.1", "learner.name": "a b", "batch": "16"}
DONE = Search(
    model="mlp",
    stream="split-digits",
    space={"learner.rate": ["0.1", "1"], "learner.name": ["a b"], "batch": ["16"]},
    budget=2,
    tasks=3,
    share=0.2,
    seeds=(100, 101),
    objective="average_accuracy",
    trials=(
        Trial(VALUES, 0.5, {"average_accuracy": 0.5, "forgetting_first": 0.25, "learning_accuracy": 0.75}, 1.0),
        Trial({**VALUES, "learner.rate": "1"}, None, {}, 1.0),
    ),
)


def test_the_best_values_are_lines_that_a_recipe_can_take(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch, search, "out", width=200) as text:
        search.search(DONE, as_json=False)
    table, _, recipe = text.getvalue().partition("For the recipe:\n")
    assert table.endswith("For the command line: --set learner.rate=0.1 --set 'learner.name=a b' --set batch=16\n")
    found = tomllib.loads(recipe)
    assert found["on"]["split-digits"] == {"rate": 0.1, "name": "a b", "batch": 16}
    assert found["search"]["split-digits"]["seeds"] == [100, 101]
    assert found["search"]["split-digits"]["score"] == 0.5
    rows = [line.split() for line in table.splitlines() if "rate=" in line]
    assert rows[0][:3] == ["0.5000", "0.2500", "0.7500"]  # forgetting first stands in for forgetting
    assert rows[1][:3] == ["–", "–", "–"]


def test_how_sure_the_best_is_and_an_edge_are_remarked(monkeypatch: pytest.MonkeyPatch) -> None:
    best, other = (
        Trial({"learner.rate": rate}, score, {"average_accuracy": score}, 1.0, (score - spread, score + spread))
        for rate, score, spread in (("1", 0.5, 0.01), ("0.1", 0.49, -0.01))
    )
    found = replace(DONE, space={"learner.rate": ["0.1", "1"]}, trials=(best, other), sampler="tpe")
    with written(monkeypatch, search, "out", width=200) as recipe, written(monkeypatch, console, "err", width=300) as told:
        search.search(found, as_json=False)
    lines = told.getvalue().splitlines()
    assert lines[0].startswith("the best: between 0.3729 and 0.6271 (95 %, 2 seeds)")
    assert lines[1].startswith("1 other candidate is not told apart from it by these seeds")
    assert lines[2].startswith("the best learner.rate = 1 lies at an edge of what was searched")
    assert 'sampler = "tpe"' in recipe.getvalue()


def test_where_every_candidate_diverged_there_is_nothing_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch, search, "out") as text, pytest.raises(NlbenchError, match="every candidate diverged"):
        search.search(replace(DONE, trials=DONE.trials[1:]), as_json=False)
    assert "For the recipe" not in text.getvalue()


def test_a_candidate_is_a_line_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch, search, "err", width=200) as text:
        for trial in DONE.trials:
            search.trial(trial)
    first, second = text.getvalue().splitlines()
    assert first == "    0.5000  learner.rate=0.1 learner.name=a b batch=16  (1.0 s)"
    assert second.split()[0] == "diverged"
