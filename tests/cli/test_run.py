"""What `nlbench run` shows, records, resumes and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import Command, run, the_record

import nlbench
from nlbench.comparison.statistics import smallest_p
from nlbench.seeds import USUAL


def test_a_run_shows_progress_matrix_metrics_costs_and_the_records_path(command: Command) -> None:
    done = run(command)
    assert done.code == 0
    lines = done.err.splitlines()
    assert lines[0] == "mlp on split-digits (class-il), seeds 0 to 1, batches of 16"
    assert [line.split()[:2] for line in lines[1:]] == [["task", f"{task}/5"] for task in range(1, 6)]
    record = nlbench.load("results")[0]
    mean = record.accuracies.mean(0)
    for task in (0, 3, 5):
        (row,) = [line for line in done.out.splitlines() if line.strip().startswith("no task" if task == 0 else f"task {task}  ")]
        assert row.split()[2:] == [f"{value:.3f}" for value in mean[task]]
    for name in ("average_accuracy", "learning_accuracy", "forgetting", "min_accuracy", "learning_curve_area"):
        (row,) = [line for line in done.out.splitlines() if line.startswith(name + " ")]
        values = list(record.metric(name).values())
        assert row.split()[1] == f"{sum(values) / 2:.3f}"
    for name, chance in (("average_accuracy", record.values("chance")[-1].value), ("learning_accuracy", record.chance.mean())):
        (row,) = [line for line in done.out.splitlines() if line.startswith(name + " ")]
        assert row.split()[5] == f"{chance:.3f}"
    assert "seconds train" in done.out
    assert "bytes per seed parameters 38.4 kB" in done.out
    assert done.out.splitlines()[-1] == f"record  {the_record()}"
    assert "\x1b" not in done.out + done.err  # no colours where there is no terminal


def test_a_run_that_is_recorded_starts_no_torch(command: Command) -> None:
    run(command)
    argv = ["run", "--model", "mlp", "--stream", "split-digits", "--seeds", "2"]
    code = f"import sys\nfrom nlbench import cli\nsys.argv[1:] = {argv}\ntry:\n    cli.main()\nfinally:\n    print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "recorded already" in done.stderr + done.stdout
    assert not {"torch", "numba", "triton", "torchvision", "sklearn"} & set(done.stdout.splitlines()[-1].split())


def test_the_same_command_again_says_that_nothing_ran_and_more_seeds_run_alone(command: Command) -> None:
    first, again, more = run(command), run(command), run(command, seeds="3")
    assert again.code == more.code == 0
    assert again.err == ""
    assert "Every seed was recorded already; nothing ran." in again.out
    assert "Every seed" not in first.out
    assert more.err.startswith("recorded already: 2 of 3 seeds; running seed 2\n")
    assert nlbench.load("results")[0].seeds == (0, 1, 2)


def test_json_is_all_that_json_prints(command: Command) -> None:
    done = run(command, "--format", "json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    record = nlbench.load("results")[0]
    assert found["record"] == str(the_record())
    assert found["seeds_run"] == found["seeds"] == [0, 1]
    assert found["accuracy"] == record.accuracies.mean(0).tolist()
    assert found["metrics"]["forgetting"]["by_seed"] == {str(seed): value for seed, value in record.metric("forgetting").items()}
    assert (
        found["metrics"]["forgetting"]["low"] <= found["metrics"]["forgetting"]["mean"] <= found["metrics"]["forgetting"]["high"]
    )
    assert json.loads(run(command, "--format", "json").out)["seeds_run"] == []


def test_what_was_not_measured_is_a_dash_with_its_reason_and_null_in_json(command: Command) -> None:
    done = run(command, "--set", "protocol.evaluate=seen", "--set", "protocol.evaluate_every=100000000")
    (row,) = [line for line in done.out.splitlines() if line.startswith("forward_transfer")]
    assert row.split()[1:] == ["–"]
    (why,) = [line for line in done.out.splitlines() if line.startswith("– ") and "forward_transfer" in line.partition(":")[0]]
    assert "needs" in why
    row = next(line for line in done.out.splitlines() if line.strip().startswith("task 1  "))
    assert row.split()[3:] == ["–"] * 4
    found = json.loads(
        run(command, "--set", "protocol.evaluate=seen", "--set", "protocol.evaluate_every=100000000", "--format", "json").out
    )
    assert found["metrics"]["forward_transfer"]["mean"] is None
    assert "needs" in found["metrics"]["forward_transfer"]["reason"]
    assert found["accuracy"][1][1:] == [None] * 4


def test_a_learner_that_the_stream_does_not_suit_is_refused_before_anything_is_shown(command: Command) -> None:
    done = run(command, "--set", "protocol.boundaries=false", model="ewc")
    assert done.code == 2
    assert done.err.startswith("nlbench: ewc needs to be told when a task ends")


def test_a_learner_at_chance_is_marked(command: Command) -> None:
    marked, unmarked = ("\nat chance " in run(command, model=model).out for model in ("chance", "mlp"))
    assert marked
    assert not unmarked


def test_overrides_scenario_and_seeds_reach_the_plan(command: Command) -> None:
    done = run(
        command,
        "--set",
        "learner.hidden=[8]",
        "--set",
        "protocol.passes=2",
        "--scenario",
        "task-il",
        "--format",
        "json",
        seeds="4,",
    )
    assert done.code == 0
    said = nlbench.load("results")[0].footer
    assert said.learner_spec["learner"]["hidden"] == [8]
    assert said.terms["passes"] == 2
    assert (said.scenario, said.seeds) == ("task-il", [4])


def test_force_runs_anew(command: Command) -> None:
    run(command)
    assert json.loads(run(command, "--force", "--format", "json").out)["seeds_run"] == [0, 1]


def test_a_dry_run_prints_what_would_happen_and_leaves_nothing(command: Command, tmp_path: Path) -> None:
    done = run(command, "--dry-run", model="cms")
    assert done.code == 0
    for part in ("learner.periods", "steps", "level of period 16", "bytes per seed", "about", "fingerprint"):
        assert part in done.out
    found = json.loads(run(command, "--dry-run", "--format", "json", model="cms").out)
    assert found["steps"] == 91
    assert found["updates"] == {"1": 91, "4": 22, "16": 5}
    assert found["learner_spec"]["learner"]["periods"] == [1, 4, 16]
    assert list(tmp_path.iterdir()) == []
    done = run(command, model="cms")
    assert the_record().name == f"cms.split-digits.{found['fingerprint']}.parquet"


LEARNER = """
import os
import torch
from nlbench import Learner

class MyLearner(Learner):
    def __init__(self, config, problem):
        self.sums = torch.zeros(len(problem.seeds), problem.n_classes, problem.n_inputs)
        self.steps = torch.zeros(())

    def observe(self, batch):
        self.steps += 1
        if str(int(self.steps)) == os.environ.get("STOP_AT"):
            raise KeyboardInterrupt
        self.sums += torch.nn.functional.one_hot(batch.labels, self.sums.shape[1]).float().mT @ batch.inputs.flatten(2)
        return torch.zeros(len(self.sums))

    def predict(self, inputs, task):
        return inputs.flatten(2) @ self.sums.mT
"""


def test_a_run_that_is_interrupted_before_anything_was_saved_starts_anew(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("my_learner.py").write_text(LEARNER)
    monkeypatch.setenv("STOP_AT", "2")
    stopped = run(command, model="./my_learner.py:MyLearner")
    assert (stopped.code, list(Path("results").rglob("*.checkpoint"))) == (130, [])
    assert stopped.err.endswith("interrupted after 0 of 5 tasks. Nothing was saved: the same command starts anew.\n")


@pytest.mark.parametrize("form", ["table", "json"])
def test_an_interrupted_run_exits_130_and_the_same_command_resumes(
    form: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("my_learner.py").write_text(LEARNER)
    monkeypatch.setenv("STOP_AT", "40")
    stopped = run(command, "--format", form, model="./my_learner.py:MyLearner")
    assert stopped.code == 130
    assert stopped.err.splitlines()[-1].startswith("nlbench: interrupted")
    assert "What is done is kept in results; the same command resumes." in stopped.err
    assert ("after 2 of 5 tasks" in stopped.err) == (form == "table")
    assert not list(Path("results").glob("*.parquet"))
    monkeypatch.setenv("STOP_AT", "1")  # a run from the start would stop again
    resumed = run(command, "--format", form, model="./my_learner.py:MyLearner")
    assert resumed.code == 0
    monkeypatch.delenv("STOP_AT")
    run(command, "--results", "whole", model="./my_learner.py:MyLearner")
    assert (nlbench.load("results")[0].accuracies == nlbench.load("whole")[0].accuracies).all()
    assert nlbench.load("results")[0].model == "MyLearner"


def test_what_is_said_of_a_saved_learner_loads_it(command: Command) -> None:
    Path("my_learner.py").write_text(LEARNER)
    done = run(command, "--save", "saved", model="./my_learner.py:MyLearner")
    assert done.err.endswith('learner in saved: nlbench.load_learner(path, "./my_learner.py:MyLearner")\n')
    (path,) = Path("saved").iterdir()
    assert nlbench.load_learner(path, "./my_learner.py:MyLearner").seeds == (0, 1)


def test_ten_seeds_are_the_default_everywhere() -> None:
    from inspect import signature

    from nlbench.cli.run import run as of_command

    defaults = [signature(function).parameters["seeds"].default for function in (of_command, nlbench.run, nlbench.resolve)]
    assert defaults == [str(USUAL), USUAL, USUAL]
    assert USUAL == 10
    assert smallest_p(USUAL) < 0.05 < smallest_p(5)
