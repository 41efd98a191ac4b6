"""A device, a backend and a number of threads: what there is, or one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_streams import small_stream, small_tasks

import nlbench
from nlbench import NlbenchError, Problem
from nlbench.errors import BackendError
from nlbench.kernels.threads import program_threads
from nlbench.plan import Machine
from nlbench.runner import prepare, preparing, threads


@pytest.mark.parametrize(
    ("machine", "line"),
    [
        (Machine(device="cuda:99"), "device 'cuda:99'"),
        (Machine(device="gpu"), "device must be auto, cpu or cuda, got 'gpu'"),
        (Machine(device=None), "device must be auto, cpu or cuda, got None"),  # type: ignore[arg-type]
        (Machine(backend="tritn"), "unknown backend 'tritn'. Did you mean triton"),
    ],
)
def test_a_device_or_backend_that_is_not_there_is_one_line(machine: Machine, line: str) -> None:
    with pytest.raises(NlbenchError) as caught:
        prepare(nlbench.resolve("mlp", "split-digits", seeds=1), machine)
    assert str(caught.value).startswith(line)
    assert isinstance(caught.value, BackendError) == ("device" in line)


@pytest.mark.parametrize("model", ["mlp", "joint-one-pass"])
def test_small_batches_run_on_one_thread_and_the_setting_is_put_back(model: str, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    during: set[int] = set()
    nlbench.run(model, "split-digits", seeds=1, results=tmp_path, listen=lambda row: during.add(torch.get_num_threads()))
    assert during == {1}
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_a_resumed_run_goes_on_with_the_threads_it_began_with_unless_others_are_asked_for(tmp_path: Path) -> None:
    plan = nlbench.resolve("mlp", "split-digits", seeds=1)
    stream, _ = prepare(plan, Machine(device="cpu"))
    with threads(plan, stream, Machine(threads=2), None) as asked:
        assert (asked, program_threads()) == (2, 2)
    with threads(plan, stream, Machine(), 3) as began:
        assert (began, program_threads()) == (3, 3)
    with threads(plan, stream, Machine(threads=2), 3) as other:
        assert (other, program_threads()) == (2, 2)


@pytest.mark.parametrize(("presents", "steps"), [("sequential", 2 * (5 + 6)), ("cumulative", 2 * 11)])
def test_a_learner_is_told_the_plan_s_precision_and_the_batches_before_its_last_row(
    presents: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Problem] = []
    monkeypatch.setattr(preparing, "build", lambda config, problem: told.append(problem))
    declared = small_stream(tasks=small_tasks(2, n_train=[40, 41]), passes=2)
    plan = nlbench.resolve("mlp", declared, seeds=(3, 5), precision="bf16", overrides={"presents": presents})
    prepare(plan, Machine(device="cpu", backend="reference"))
    (problem,) = told
    assert (problem.steps, problem.seeds, problem.backend, problem.precision) == (steps, (3, 5), "reference", "bf16")


ENDING = """
import torch
import nlbench

class Ending(nlbench.Learner):
    single_seed = True

    def __init__(self, config, problem):
        self.ended, self.classes = 0, problem.n_classes

    def observe(self, batch):
        return torch.zeros(())

    def predict(self, inputs, task):
        return torch.zeros(len(inputs), self.classes)

    def end_task(self):
        self.ended += 1

    def diagnostics(self):
        return {"ended": torch.tensor(float(self.ended))}

class Content(Ending):
    needs = ()

class Told(Ending):
    needs = ("task",)
"""


def test_a_learner_that_needs_the_task_is_refused_where_it_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ENDING)
    told, stream = f"{tmp_path}/mine.py:Told", "split-digits"
    refused = r"Told needs to know at test whose a sample is, .* \(class-il\) does not tell\. .*--set stream\.scenario"
    with pytest.raises(NlbenchError, match=refused):
        nlbench.run(told, stream, seeds=1, results=tmp_path)
    assert nlbench.run(told, stream, seeds=1, results=tmp_path, overrides={"stream.scenario": "task-il"}).seeds_run == (0,)


def test_a_learner_that_needs_boundaries_is_refused_where_none_are_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(ENDING)
    ending, stream = f"{tmp_path}/mine.py:Ending", small_stream()
    refused = r"Ending needs to be told when a task ends, and small does not tell\. .*--set protocol\.boundaries=true"
    with pytest.raises(NlbenchError, match=refused):
        nlbench.run(ending, stream, seeds=1, results=tmp_path)
    told = nlbench.run(ending, stream, seeds=1, results=tmp_path, overrides={"protocol.boundaries": "true"})
    assert told.to_pandas().query("metric == 'ended'").value.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert nlbench.run(f"{tmp_path}/mine.py:Content", stream, seeds=1, results=tmp_path).seeds_run == (0,)
