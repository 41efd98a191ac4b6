"""The record of a run: which seeds, what it says, what it never says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_streams import rows_by_seed, small_stream, untimed

import nlbench
from nlbench import runner
from nlbench.api.running import carry_out
from nlbench.errors import NlbenchError, NotFiniteError, RunningError
from nlbench.learners.mlp import Mlp
from nlbench.plan import PROTOCOL_VERSION, Machine
from nlbench.protocol import evaluate_stream
from nlbench.records import Row
from nlbench.runner import execute
from nlbench.seeds import permutation

CPU = Machine(device="cpu")


def test_a_finished_run_leaves_one_record_and_nothing_else(tmp_path: Path) -> None:
    done = nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path)
    plan = nlbench.resolve("mlp", "split-digits", seeds=2)
    assert done.path == tmp_path / f"mlp.split-digits.{plan.fingerprint}.parquet"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [done.path]
    assert done.record.accuracies.shape == (2, 6, 5)
    assert not done.record.accuracies.mask.any()


def test_asking_for_more_seeds_runs_only_the_missing_ones(tmp_path: Path) -> None:
    first = nlbench.run("mlp", "split-digits", seeds="0,2", results=tmp_path / "a")
    more = nlbench.run("mlp", "split-digits", seeds=4, results=tmp_path / "a")
    assert (first.seeds_run, more.seeds_run) == ((0, 2), (1, 3))
    assert more.path == first.path
    together = nlbench.run("mlp", "split-digits", seeds=4, results=tmp_path / "b")
    assert more.record.seeds == together.record.seeds == (0, 1, 2, 3)
    assert np.array_equal(more.record.accuracies, together.record.accuracies)
    assert rows_by_seed(more.record) == rows_by_seed(together.record)
    assert [sorted(run.seeds) for run in more.record.runs] == [[0, 2], [1, 3]]


TOLD = """
import nlbench.runner

while True:
    try:
        results, seeds = input().split()
    except EOFError:
        break
    done = nlbench.run("mlp", "split-digits", seeds=seeds, results=results)
    print(done.seeds_run, done.seeds_kept, flush=True)
"""


@pytest.fixture(scope="module")
def at_once() -> Iterator[Callable[[Path, str, str], list[str]]]:
    """Two processes that run at once what they are told: a folder of results, and the seeds of either."""
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    both = [subprocess.Popen([sys.executable, "-c", TOLD], **pipes) for _ in range(2)]

    def told(results: Path, *seeds: str) -> list[str]:
        for process, each in zip(both, seeds, strict=True):
            process.stdin.write(f"{results} {each}\n")
        return [process.stdout.readline() for process in both]

    yield told
    for process in both:
        process.communicate()


def test_runs_at_once_lose_no_seed(tmp_path: Path, at_once: Callable[[Path, str, str], list[str]]) -> None:
    assert at_once(tmp_path, "0,1", "2,3") == ["(0, 1) ()\n", "(2, 3) ()\n"]
    (record,) = nlbench.load(tmp_path)
    assert record.seeds == (0, 1, 2, 3)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [record.path.name]


def test_what_another_run_recorded_meanwhile_is_kept(tmp_path: Path) -> None:
    other: list[nlbench.Run] = []

    def listen(row: Row) -> None:
        if not other and row.after_task == 3:
            other.append(nlbench.run("mlp", "split-digits", seeds="1,2", results=tmp_path))

    done = nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path, listen=listen)
    assert (done.seeds_run, done.seeds_kept, done.record.seeds) == ((0,), (1,), (0, 1, 2))
    assert [list(run.seeds) for run in done.record.runs] == [[1, 2], [0]]


def test_two_runs_of_one_plan_take_turns_and_the_second_finds_the_record(
    tmp_path: Path, at_once: Callable[[Path, str, str], list[str]]
) -> None:
    assert sorted(at_once(tmp_path, "0,1", "0,1")) == ["() ()\n", "(0, 1) ()\n"]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_a_run_that_asks_for_itself_is_refused(tmp_path: Path) -> None:
    def again(row: Row) -> None:
        nlbench.run("mlp", "split-digits", seeds=1, results=tmp_path)

    with pytest.raises(RunningError, match="this run is asked for while it is going on"):
        nlbench.run("mlp", "split-digits", seeds=1, results=tmp_path, listen=again)


def test_the_same_command_again_runs_nothing_and_does_not_touch_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path)
    content = first.path.read_bytes()
    monkeypatch.setattr(runner, "execute", lambda *args, **options: pytest.fail("ran"))
    again = nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path)
    fewer = nlbench.run("mlp", "split-digits", seeds="1,", results=tmp_path)
    assert again.seeds_run == fewer.seeds_run == ()
    assert first.path.read_bytes() == content


def test_force_runs_anew_and_keeps_only_the_seeds_asked_for(tmp_path: Path) -> None:
    nlbench.run("mlp", "split-digits", seeds=3, results=tmp_path)
    forced = nlbench.run("mlp", "split-digits", seeds="1,", results=tmp_path, force=True)
    assert forced.seeds_run == forced.record.seeds == (1,)


def test_a_record_names_the_seeds_that_were_left_out_as_they_diverged(tmp_path: Path) -> None:
    plan, machine = nlbench.resolve("mlp", small_stream(), seeds="1,2"), Machine(device="cpu")
    for _ in runner.execute(plan, tmp_path, machine, diverged={0: "task 1, step 3: the loss is nan"}, tell=print):
        pass
    footer = nlbench.load(tmp_path)[0].footer
    assert (footer.seeds, footer.lost) == ([1, 2], {0: "task 1, step 3: the loss is nan"})
    run = nlbench.run("mlp", small_stream(), seeds=3, results=tmp_path)  # where it does not
    assert run.record.footer.lost == {}


def test_what_is_not_finite_leaves_no_record(tmp_path: Path) -> None:
    with pytest.raises(NotFiniteError, match=r"seed 0, task 1, step \d+"):
        nlbench.run("mlp", "split-digits", seeds=1, results=tmp_path, overrides={"learner.rate": "1e30"})
    assert not list(tmp_path.glob("*.parquet"))


LEARNER = """
import torch
from nlbench import Learner

class Mine(Learner):
    def __init__(self, config, problem):
        self.classes, self.seeds = problem.n_classes, len(problem.seeds)
        self.weight = torch.zeros(self.seeds, self.classes, problem.n_inputs)

    def observe(self, batch):
        targets = torch.nn.functional.one_hot(batch.labels, self.classes).float()
        self.weight += 0.01 * targets.mT @ batch.inputs.flatten(2)
        return torch.zeros(self.seeds)

    def predict(self, inputs, task):
        return inputs.flatten(2) @ self.weight.mT
"""


def test_a_record_names_no_place_host_or_user_and_a_learner_is_the_same_wherever_its_file_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "users" / "somebody"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(LEARNER)
    absolute = nlbench.run(f"{folder}/mine.py:Mine", "split-digits", seeds=1, results=tmp_path / "r")
    monkeypatch.chdir(folder)
    relative = nlbench.run("./mine.py:Mine", "split-digits", seeds=1, results=tmp_path / "r")
    assert relative.seeds_run == ()
    assert relative.path == absolute.path
    text = json.dumps(relative.record.footer.facts())
    assert "somebody" not in text
    assert os.uname().nodename not in text.split('"')
    assert relative.record.footer.learner_kind == "mine.py:Mine"
    (folder / "mine.py").write_text(LEARNER.replace("0.01", "0.02"))
    changed = nlbench.run("./mine.py:Mine", "split-digits", seeds=1, results=tmp_path / "r")
    assert changed.seeds_run == (0,)
    assert changed.path != relative.path


SCALED = """
import torch
from nlbench import Learner
from helper import scale

class L(Learner):
    def __init__(self, config, problem):
        self.logits = torch.zeros(len(problem.seeds), problem.n_classes)
    def observe(self, batch):
        self.logits = self.logits + scale() * torch.nn.functional.one_hot(batch.labels, self.logits.shape[1]).sum(1)
        return torch.zeros(len(self.logits))
    def predict(self, inputs, task):
        return self.logits[:, None].expand(-1, inputs.shape[1], -1)
"""


def test_a_learner_s_siblings_import_and_a_change_of_one_is_another_run(tmp_path: Path) -> None:
    runs = []
    for folder, scale in (("a", 1.0), ("a", 1.0), ("a", -1.0), ("b", 1.0)):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "mine.py").write_text(SCALED)
        (tmp_path / folder / "helper.py").write_text(f"def scale():\n    return {scale}\n")
        runs.append(nlbench.run(f"{tmp_path}/{folder}/mine.py:L", "split-digits", seeds=1, results=tmp_path / "r"))
    first, same, other, elsewhere = runs
    assert [run.seeds_run for run in runs] == [(0,), (), (0,), ()]
    assert first.path == same.path == elsewhere.path != other.path
    assert first.metric("learning_accuracy") != other.metric("learning_accuracy")
    assert "helper" not in sys.modules


def test_code_that_changes_between_plan_and_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCALED)
    (tmp_path / "helper.py").write_text("def scale():\n    return 1.0\n")
    plan = nlbench.resolve(f"{tmp_path}/mine.py:L", "split-digits", seeds=1)
    (tmp_path / "helper.py").write_text("def scale():\n    return 2.0\n")
    with pytest.raises(NlbenchError, match=r"mine\.py:L: has changed since the run was planned\. Plan it anew\."):
        carry_out(plan, tmp_path / "r", Machine())


def test_metadata_says_what_was_resolved_and_what_ran(tmp_path: Path) -> None:
    plan = nlbench.resolve("cms", "split-digits", seeds=1, overrides={"protocol.passes": "2"})
    said = nlbench.run(
        "cms", "split-digits", seeds=1, results=tmp_path, device="cpu", overrides={"protocol.passes": "2"}
    ).record.footer
    assert said.terms["passes"] == 2
    assert said.learner_spec["learner"]["periods"] == [1, 4, 16]
    assert said.terms["batch"] == 16
    assert said.data == plan.declared.data
    assert said.fingerprint == plan.fingerprint
    assert (said.device, said.precision, said.protocol_version) == ("cpu", "float32", PROTOCOL_VERSION)
    assert said.threads == 1
    assert said.environment.packages["torch"]


def test_a_run_in_bf16_is_a_record_of_its_own_with_its_precision(tmp_path: Path) -> None:
    made = nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path, device="cpu", precision="bf16").record
    plain = nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path, device="cpu").record
    assert (made.footer.precision, made.footer.backend) == ("bf16", "reference")
    assert made.path != plain.path
    assert made.metric("average_incremental_accuracy") != plain.metric("average_incremental_accuracy")
    for seed, value in made.metric("learning_accuracy").items():
        assert value == pytest.approx(plain.metric("learning_accuracy")[seed], abs=0.05)


@pytest.mark.parametrize(
    ("model", "asked", "ran"),
    [
        ("mlp", "auto", "reference"),
        ("mlp", "reference", "reference"),
        ("joint-one-pass", "numba", "numba"),
        ("chance", "auto", "reference"),
    ],
)
def test_a_record_says_which_backend_trained(model: str, asked: str, ran: str, tmp_path: Path) -> None:
    done = nlbench.run(model, small_stream(), seeds=1, results=tmp_path, backend=asked, device="cpu")
    assert done.record.footer.backend == ran


def test_backends_agree_on_digits_within_a_sample_a_cell(tmp_path: Path) -> None:
    fast, plain = (
        nlbench.run("mlp", "split-digits", seeds=10, results=tmp_path / backend, backend=backend, device="cpu").record.accuracies
        for backend in ("numba", "reference")
    )
    samples = [67, 71, 73, 72, 73]  # test samples of the five tasks
    assert (abs(fast - plain) <= 1 / np.array(samples) + 1e-9).all()
    assert abs(fast[:, -1].mean() - plain[:, -1].mean()) <= 0.002


@pytest.mark.slow
@pytest.mark.mnist
def test_on_mnist_backends_are_as_far_from_exact_products_as_each_other() -> None:
    """472 steps of plain fine-tuning multiply rounding: measured, each backend is up to 4 of 2000 samples from float64."""
    plan = nlbench.resolve("mlp", "split-mnist", seeds=1)

    def accuracies(backend: str, dtype: torch.dtype) -> np.ndarray:
        stream, learner = runner.prepare(plan, Machine(device="cpu", backend=backend))
        assert isinstance(learner, Mlp)
        learner.weights, learner.biases = ([each.to(dtype) for each in held] for held in (learner.weights, learner.biases))
        observe, predict = learner.observe, learner.predict
        learner.observe = lambda batch: observe(replace(batch, inputs=batch.inputs.to(dtype)))  # type: ignore[method-assign]
        learner.predict = lambda inputs, task: predict(inputs.to(dtype), task)  # type: ignore[method-assign]
        with torch.no_grad():
            rows = list(evaluate_stream(learner, stream, batch=plan.batch))
        return np.array([row.value for row in rows if row.metric == "accuracy"]).reshape(6, 5)

    exact = accuracies("reference", torch.float64)
    for backend in ("numba", "reference"):
        found = accuracies(backend, torch.float32)
        assert abs(found - exact).max() <= 10 / 2000
        assert abs(found[-1].mean() - exact[-1].mean()) <= 0.002


def test_a_stream_of_arrays_runs_through_the_same_door(tmp_path: Path) -> None:
    declared = small_stream(evaluate_every=8)
    done = nlbench.run("mlp", declared, seeds=2, results=tmp_path)
    assert done.path.name.startswith("mlp.small.")
    assert done.record.accuracies.shape == (2, 4, 3)
    assert nlbench.run("mlp", declared, seeds=2, results=tmp_path).seeds_run == ()
    plan = nlbench.resolve("mlp", declared, seeds=2)
    rows = untimed(list(execute(plan, tmp_path / "again", CPU, tell=print)))
    assert [row for row in rows if row.metric == "accuracy"] == done.record.values("accuracy")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("natural", ""),
        ("[9,8,7,6,5,4,3,2,1,0]", "class order: 9, 8, 7, 6, 5, 4, 3, 2, 1, 0"),
        ("seed", "class order of seed 3: "),
    ],
)
def test_a_record_and_a_comparison_say_in_which_order_classes_came(order: str, said: str, tmp_path: Path) -> None:
    overrides = {"stream.class_order": order}
    if order == "seed":
        overrides |= {"stream.train_quota": "130", "stream.test_quota": "30"}
    record = nlbench.run("mlp", "split-digits", seeds=[3, 4], results=tmp_path, device="cpu", overrides=overrides).record
    drawn = {str(seed): permutation((seed,), "class-order", 10)[0].tolist() for seed in (3, 4)}
    assert record.footer.runs[0].class_orders == (drawn if order == "seed" else {"all": [*range(9, -1, -1)]} if said else {})
    if order == "seed":
        said += ", ".join(map(str, drawn["3"]))
    assert record.class_order == said
    (group,) = nlbench.compare([record]).groups
    assert (f"{said}." in group.notes) == bool(said)
