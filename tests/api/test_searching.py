"""The Python face of searches: what is asked of every candidate, on workers too."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlbench import api
from nlbench.errors import NlbenchError
from nlbench.tune import Range, Search, Trial


@pytest.mark.parametrize("name", ["here", pytest.param("local", marks=pytest.mark.slow)])
def test_a_search_finds_the_same_wherever_it_runs_and_again_without_a_trial(name: str, tmp_path: Path) -> None:
    space = {"learner.rate": ["0.01", "0.1"], "learner.hidden": ["[8]"]}
    heard: list[float | None] = []
    engine = api.engine(name, workers=1, threads=1, device="cpu")
    found = api.tune(
        "mlp",
        "split-digits",
        space,
        tasks=2,
        engine=engine,
        device="cpu",
        trials=tmp_path / "t.jsonl",
        listen=lambda trial: heard.append(trial.score),
    )
    alone = api.tune("mlp", "split-digits", space, tasks=2, device="cpu", threads=1)
    assert [(trial.values, trial.scores) for trial in found.trials] == [(trial.values, trial.scores) for trial in alone.trials]
    assert sorted(map(str, heard)) == sorted(str(trial.score) for trial in found.trials)
    assert (found.seeds, found.budget, found.tasks, found.sampler) == ((100, 101, 102), 32, 2, "grid")
    again = api.tune("mlp", "split-digits", space, tasks=2, device="cpu", trials=tmp_path / "t.jsonl")
    assert again.trials == found.trials


def test_ranges_are_drawn_at_random() -> None:
    assert api.searched("log:0.01..0.1") == Range(0.01, 0.1, log=True, whole=False)
    space = {"learner.rate": api.searched("log:0.01..0.1"), "learner.hidden": ["[4]"]}
    found = api.tune("mlp", "split-digits", space, budget=2, tasks=2, sampler="random", device="cpu")
    assert len({trial.values["learner.rate"] for trial in found.trials}) == 2
    assert found.space == {"learner.rate": ["log:0.01..0.1"], "learner.hidden": ["[4]"]}
    with pytest.raises(NlbenchError, match="a grid has no ranges"):
        api.tune("mlp", "split-digits", space, device="cpu")


def test_the_best_values_are_carried_over_to_a_stream_that_had_no_part_in_the_search(tmp_path: Path) -> None:
    space = {"learner.rate": ["1e-6", "0.1"]}
    found = api.tune("mlp", "split-digits", space, tasks=2, device="cpu", overrides={"learner.hidden": "[8]"})
    there = {"overrides": {"learner.hidden": "[8]", "stream.tasks": "2"}, "results": tmp_path, "device": "cpu"}
    run = api.carry_over(found, "mlp", "split-digits", "split-topics", **there)
    assert run.record.stream == "split-topics"
    assert run.record.footer.learner_spec["learner"]["rate"] == 0.1
    assert run.record.footer.learner_spec["learner"]["hidden"] == [8]


def winner(model: str, stream: str, **values: str) -> Search:
    return Search(model, stream, {}, 1, 2, 0.2, (100,), "average_accuracy", (Trial(values, 0.5, {100: 0.5}, 1.0),))


def test_nothing_of_what_is_carried_over_is_the_recipes_for_the_other_stream(tmp_path: Path) -> None:
    found = winner("er", "split-mnist-5k", **{"learner.capacity": "300"})
    there = {"overrides": {"stream.tasks": "2"}, "results": tmp_path, "device": "cpu"}
    run = api.carry_over(found, "er", "split-mnist-5k", "split-digits", **there)
    own = api.resolve("er", "split-mnist-5k", overrides={"learner.capacity": "300"}).describe()
    usual = api.resolve("er", "split-digits", overrides={"learner.capacity": "300"}).describe()
    assert run.record.footer.learner_spec["learner"] == own["learner_spec"]["learner"]
    assert usual["learner_spec"]["learner"]["optimizer"] != own["learner_spec"]["learner"]["optimizer"]
    batches = api.carry_over(winner("mlp", "split-vowel"), "mlp", "split-vowel", "split-digits", results=tmp_path, device="cpu")
    assert batches.record.terms["batch"] == api.resolve("mlp", "split-vowel").describe()["terms"]["batch"] == 8


def test_a_network_of_another_kind_stays_where_its_samples_are(tmp_path: Path) -> None:
    there = {"overrides": {"protocol.passes": "1"}, "results": tmp_path, "device": "cpu"}
    run = api.carry_over(winner("joint", "split-digits"), "joint", "split-digits", "split-vowel", **there)
    spec = run.record.footer.learner_spec["learner"]
    assert spec["network"]["kind"] == "mlp"
    own = api.resolve("joint", "split-digits").describe()["learner_spec"]["learner"]
    assert own["network"]["kind"] == "convolutional"
    assert spec["optimizer"] == own["optimizer"]


def test_a_stream_of_another_scenario_is_refused_before_anything_is_searched() -> None:
    api.check_scenarios("mlp", "split-digits", "split-topics")
    with pytest.raises(NlbenchError, match="split-digits is class-il and permuted-digits is domain-il"):
        api.check_scenarios("mlp", "split-digits", "permuted-digits")


def test_nothing_is_run_where_every_candidate_diverged() -> None:
    diverged = Search("mlp", "split-digits", {}, 1, 2, 0.2, (100,), "average_accuracy", (Trial({}, None, {}, 1.0),))
    with pytest.raises(NlbenchError, match="no candidate is left to run"):
        api.carry_over(diverged, "mlp", "split-digits", "split-topics")
