"""What `nlbench tune` prints of a search: candidates as they end, a table, and lines a recipe can take."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from command_line import Command

from nlbench import api
from nlbench.tune import Search, Trial


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand in for the search, and note what it was asked."""
    seen: dict[str, Any] = {}

    def tune(
        model: str, stream: str, space: Mapping[str, Sequence[str]], *, listen: Callable[[Trial], None], **options: Any
    ) -> Search:
        seen.update(model=model, stream=stream, space=space, **options)
        trials = [
            Trial({"learner.rate": "0.1"}, 0.75, {"average_accuracy": 0.75, "forgetting": 0.1}, 1.0),
            Trial({"learner.rate": "9"}, None, {}, 1.0),
        ]
        for trial in trials:
            listen(trial)
        named = {name: list(values) for name, values in space.items()}
        return Search(
            model, stream, named, options["budget"], options["tasks"], 0.2, (100, 101, 102), "average_accuracy", tuple(trials)
        )

    monkeypatch.setattr(api, "tune", tune)
    return seen


COMMAND = ("tune", "-m", "mlp", "-s", "split-digits", "--space", "learner.rate=0.1,9", "--set", "protocol.passes=2")


def test_options_reach_the_search_and_candidates_are_shown(command: Command, asked: dict[str, Any]) -> None:
    done = command(*COMMAND, "--budget", "2", "--tasks", "2")
    assert done.code == 0
    assert asked["space"] == {"learner.rate": ["0.1", "9"]}
    assert (asked["budget"], asked["tasks"], asked["overrides"]) == (2, 2, {"protocol.passes": "2"})
    *shown, edge = done.err.splitlines()
    assert [line.split()[:2] for line in shown] == [["0.7500", "learner.rate=0.1"], ["diverged", "learner.rate=9"]]
    assert edge.startswith("the best learner.rate = 0.1 lies at an edge of what was searched")


def test_the_lines_for_the_recipe_are_toml(command: Command, asked: dict[str, Any]) -> None:
    text = command(*COMMAND).out.partition("For the recipe:\n")[2]
    table = tomllib.loads(text)
    assert table["on"]["split-digits"] == {"rate": 0.1}
    assert table["search"]["split-digits"]["space"] == {"learner.rate": [0.1, 9]}


def test_json_holds_every_candidate(command: Command, asked: dict[str, Any]) -> None:
    found = json.loads(command(*COMMAND, "--format", "json").out)
    assert [trial["score"] for trial in found["trials"]] == [0.75, None]
    assert found["rule"]


def test_the_best_values_run_on_another_stream_when_asked(
    command: Command, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []

    def carry_over(found: Search, *names: str, **options: Any) -> object:
        calls.append((found.trials[0].values, *names, options["overrides"]))
        return api.run("chance", "split-digits", seeds=2, results=options["results"])

    monkeypatch.setattr(api, "carry_over", carry_over)
    done = command(*COMMAND, "--then", "split-topics", "--results", "there")
    assert done.code == 0
    assert calls == [({"learner.rate": "0.1"}, "mlp", "split-digits", "split-topics", {"protocol.passes": "2"})]
    assert "average_accuracy" in done.out
    refused = command(*COMMAND, "--then", "permuted-digits")
    assert refused.code == 2
    assert "permuted-digits is domain-il" in refused.err
