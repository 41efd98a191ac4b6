"""A learner is saved, and what is made of the file predicts as it did; nothing that a file names is imported."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from small_streams import small_stream, smaller
from torch import Tensor

import nlbench
from nlbench import Batch, Learner, NlbenchError, Problem, closure
from nlbench.closure import session

INPUTS = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6)


class Alone(Learner):
    """A module of one seed, which notes what it answered last."""

    single_seed = True

    def __init__(self, config: Any, problem: Problem) -> None:
        self.network = torch.nn.Linear(problem.n_inputs, problem.n_classes)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.1)

    def observe(self, batch: Batch) -> Tensor:
        with torch.enable_grad():
            loss = torch.nn.functional.cross_entropy(self.network(batch.inputs), batch.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return self.network(inputs)


def saved(folder: Path, model: Any, seeds: Any = 2, **stream: Any) -> nlbench.Run:
    overrides = {**smaller(model, "split-digits")} if isinstance(model, str) else {}
    return nlbench.run(
        model, small_stream(**stream), seeds=seeds, results=folder, save=folder / "saved", overrides=overrides, device="cpu"
    )


def the_file(folder: Path) -> Path:
    (path,) = (folder / "saved").glob("*.safetensors")
    return path


@pytest.mark.parametrize("model", ["mlp", "cms-nested", "hope"])
def test_what_was_saved_predicts_what_the_run_measured(tmp_path, model):
    run = saved(tmp_path, model, batch=5)
    stream = small_stream(batch=5)
    right = run.to_pandas().query("metric == 'accuracy' and after_task == 3").set_index(["seed", "on_task"]).value
    for seed in (0, 1):
        for task, (_, _, inputs, labels) in enumerate(stream.source.tasks, 1):
            answers = run.learner(seed).predict(inputs).argmax(-1).numpy()
            assert (answers == labels).mean() == pytest.approx(right[seed, task])


def test_all_seeds_have_a_row_each_and_one_seed_none(tmp_path):
    saved(tmp_path, "mlp", seeds="3,7")
    every = nlbench.load_learner(the_file(tmp_path))
    assert every.predict(INPUTS).shape == (2, 4, 6)
    assert torch.equal(nlbench.load_learner(the_file(tmp_path), seed=7).predict(INPUTS), every.predict(INPUTS)[1])
    assert repr(every) == "<nlbench.Trained mlp on small, seeds 3, 7>"
    with pytest.raises(NlbenchError, match="It holds 3, 7"):
        nlbench.load_learner(the_file(tmp_path), seed=0)
    with pytest.raises(NlbenchError, match=r"inputs must be \(N, 6\), got \(4, 5\)"):
        every.predict(INPUTS[:, :5])


def test_the_task_is_given_where_the_stream_told_it_and_nowhere_else(tmp_path):
    saved(tmp_path, "mlp", scenario="task-il")
    learner = nlbench.load_learner(the_file(tmp_path), seed=0)
    assert learner.predict(INPUTS, task=2).shape == (4, 6)
    with pytest.raises(NlbenchError, match="needs the task"):
        learner.predict(INPUTS)


def test_a_class_of_ones_own_is_imported_only_if_it_is_given(tmp_path):
    run = saved(tmp_path, Alone)
    with pytest.raises(NlbenchError, match="imported only if you name it"):
        nlbench.load_learner(the_file(tmp_path))
    loaded = nlbench.load_learner(the_file(tmp_path), Alone, seed=1)
    assert torch.equal(loaded.predict(INPUTS), run.learner(1).predict(INPUTS))


MINE = """
import torch

import nlbench


class Note:
    pass


class Notes(nlbench.Learner):
    single_seed = True

    def __init__(self, config, problem):
        self.network = torch.nn.Linear(problem.n_inputs, problem.n_classes)
        self.seen = []

    def observe(self, batch):
        self.seen.append(Note())
        return torch.zeros(())

    def predict(self, inputs, task):
        assert all(type(each) is Note for each in self.seen)
        return self.network(inputs)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "own_notes.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(session, "_GIVEN", {})
    yield importlib.import_module("own_notes")
    closure.forget()
    sys.modules.pop("own_notes", None)


@pytest.mark.parametrize("named", ["./own_notes.py:Notes", "own_notes:Notes", "the class"])
def test_a_class_of_ones_own_is_loaded_however_it_was_named_when_it_ran(tmp_path, mine, named):
    run = nlbench.run(
        mine.Notes if named == "the class" else named, small_stream(), seeds=2, results=tmp_path, save=tmp_path / "saved"
    )
    expected = run.learner(1).predict(INPUTS)
    now = importlib.import_module("own_notes")  # a file that is younger than the process is imported anew
    for given in (now.Notes, "own_notes:Notes", "./own_notes.py:Notes", str(tmp_path / "own_notes.py:Notes")):
        assert torch.equal(nlbench.load_learner(the_file(tmp_path), given, seed=1).predict(INPUTS), expected)


def test_another_class_of_the_name_is_refused_with_what_is_to_be_given(tmp_path, mine):
    nlbench.run("./own_notes.py:Notes", small_stream(), seeds=2, results=tmp_path, save=tmp_path / "saved")
    other = type("Notes", (mine.Notes,), {"__qualname__": "f.<locals>.Notes"})
    with pytest.raises(
        NlbenchError, match=r"what was saved is own_notes@:Notes, .* it is not the \./own_notes\.py:Notes that the run had"
    ):
        nlbench.load_learner(the_file(tmp_path), other)


def test_an_object_is_asked_for_as_an_object_and_takes_the_saved_weights(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(6, 6))
    run = saved(tmp_path, module)
    with pytest.raises(
        NlbenchError, match=r"an object of torch\.nn\.modules\.container:Sequential, .* load_learner\(path, Sequential\("
    ):
        nlbench.load_learner(the_file(tmp_path))
    given = torch.nn.Sequential(torch.nn.Linear(6, 6))
    assert torch.equal(nlbench.load_learner(the_file(tmp_path), given, seed=1).predict(INPUTS), run.learner(1).predict(INPUTS))


def test_a_class_of_a_session_is_asked_for_as_a_class_or_by_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(Alone, "__module__", "__main__")
    saved(tmp_path, Alone)
    with pytest.raises(NlbenchError, match=r'Alone of the session .* load_learner\(path, Alone\), or "\./file\.py:Alone"'):
        nlbench.load_learner(the_file(tmp_path))


def linear(n_classes):
    return torch.nn.Sequential(torch.nn.Linear(6, n_classes))


def test_a_function_that_makes_a_network_is_given_as_it_is(tmp_path):
    recipe = tmp_path / "made.toml"
    recipe.write_text(f'[learner]\nkind = "naive"\nnetwork = {{ kind = "module", build = "{__file__}:linear" }}\n')
    run = nlbench.run(str(recipe), small_stream(), seeds=2, results=tmp_path, save=tmp_path / "saved")
    assert torch.equal(nlbench.load_learner(the_file(tmp_path), linear, seed=0).predict(INPUTS), run.learner(0).predict(INPUTS))


def test_a_folder_is_refused_with_the_files_in_it(tmp_path):
    with pytest.raises(NlbenchError, match=r"is a folder, and a saved learner is one file\. None lies in it"):
        nlbench.load_learner(tmp_path)
    for i in range(10):
        (tmp_path / f"{i}.safetensors").touch()
    with pytest.raises(NlbenchError, match=r"In it: 0\.safetensors, 1\.safetensors, .* 7\.safetensors, …\."):
        nlbench.load_learner(tmp_path)


def test_a_file_that_moved_is_given_under_its_new_name_and_code_in_a_file_of_anothers_is_never_run(tmp_path):
    saved(tmp_path, "mlp")
    with safe_open(the_file(tmp_path), framework="pt") as file:
        facts = json.loads(file.metadata()["nlbench"])
    for learner in (
        {"kind": "trap:Trap"},
        {"kind": "./trap.py:Trap"},
        {"kind": "naive", "network": {"kind": "module", "build": "trap:Trap"}},
        {"kind": "naive", "network": {"kind": "trap:Trap"}},
    ):
        (tmp_path / "trap.py").write_text("raise SystemExit('imported')\n")
        sys.path.insert(0, str(tmp_path))
        path = tmp_path / "other.safetensors"
        save_file({"a": torch.zeros(1)}, path, {"nlbench": json.dumps({**facts, "learner": learner})})
        try:
            with pytest.raises(NlbenchError, match="imported only if you name it"):
                nlbench.load_learner(path)
        finally:
            sys.path.remove(str(tmp_path))
    assert "trap" not in sys.modules


def test_a_file_that_holds_no_learner_is_refused(tmp_path):
    for name, content in (("text", b"text"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(NlbenchError, match="holds no learner"):
            nlbench.load_learner(tmp_path / name)
    save_file({"a": torch.zeros(1)}, tmp_path / "plain")
    with pytest.raises(NlbenchError, match="holds no learner"):
        nlbench.load_learner(tmp_path / "plain")
    with pytest.raises(NlbenchError, match="cannot be read"):
        nlbench.load_learner(tmp_path / "nowhere")


def test_a_run_that_saved_nothing_says_how_to(tmp_path):
    run = nlbench.run("chance", small_stream(), seeds=2, results=tmp_path, device="cpu")
    with pytest.raises(NlbenchError, match="Save it"):
        run.learner(0)


def test_of_recorded_seeds_it_is_said_that_no_learner_is_saved(tmp_path):
    saved(tmp_path, "mlp")
    with pytest.warns(UserWarning, match="recorded already"):
        again = saved(tmp_path, "mlp", seeds=3)
    assert again.learner(2).seed == 2
    assert again.learner(0).seed == 0
