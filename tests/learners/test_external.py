"""What somebody else's learner raises or returns wrongly is told in one line that names its file, class and method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_streams import CPU, problem_of, running, small_stream
from torch import Tensor

import nlbench
from nlbench import Batch, NlbenchError, Problem
from nlbench.learners.building import build
from nlbench.learners.external import External
from nlbench.specs import ExternalConfig
from nlbench.state import UnlikeError, left_out

FILE = """
import torch
import nlbench


class Fine(nlbench.Learner):
    def __init__(self, config, problem):
        self.steps = torch.zeros(len(problem.seeds))
        self.classes = problem.n_classes

    def observe(self, batch):
        self.steps += 1
        return torch.zeros(len(batch.labels))

    def predict(self, inputs, task):
        return torch.zeros(len(self.steps), inputs.shape[1], self.classes)


class Raises(Fine):
    def observe(self, batch):
        raise ValueError("boom\\nand more")


class Exits(Fine):
    def observe(self, batch):
        raise SystemExit(0)


class Stopped(Fine):
    def observe(self, batch):
        raise KeyboardInterrupt


class FailsDeep(Fine):
    def observe(self, batch):
        return torch.zeros(3) @ torch.zeros(4)


class NoLoss(Fine):
    def observe(self, batch):
        pass


class FloatLoss(Fine):
    def observe(self, batch):
        return 0.5


class OneLoss(Fine):
    def observe(self, batch):
        return torch.tensor(0.5)


class SingleLoss(Fine):
    single_seed = True

    def observe(self, batch):
        return torch.zeros(2)


class Numpy(Fine):
    def predict(self, inputs, task):
        return super().predict(inputs, task).numpy()


class Booleans(Fine):
    def predict(self, inputs, task):
        return super().predict(inputs, task) > 0


class Other(Fine):
    pass


class Rated(Fine):
    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.rate = config.get("rate", 0.1)
        if self.rate < 0:
            raise ValueError("must be positive")


class Reading(Fine):
    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.rate = config.get("rate", 0.1)

    def end_task(self):
        self.rate /= 2


class NotMade(Fine):
    def __init__(self, config, problem):
        raise RuntimeError("no room")


class BadDiagnostics(Fine):
    def diagnostics(self):
        return {"speed": torch.zeros(3, 3)}


class AtOnce(Fine):
    takes_batches = True

    def observe(self, batch):
        raise RuntimeError("one by one")

    def observe_batches(self, batches):
        count = -(-batches.rows.shape[1] // batches.size)
        self.steps += count
        return torch.zeros(count, len(batches.rows))


class Again(AtOnce):
    def observe(self, batch):
        return Fine.observe(self, batch) + 1


class OneLossForAll(AtOnce):
    observe = AtOnce.observe

    def observe_batches(self, batches):
        return super().observe_batches(batches)[:1]


class NoPredict(nlbench.Learner):
    def __init__(self, config, problem):
        pass

    def observe(self, batch):
        return torch.zeros(2)
"""
PROBLEM = Problem((4,), 3, (0, 1), "class-il", CPU, "auto", 1000)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)


def present(name: str) -> None:
    learner = build(ExternalConfig(kind=f"./mine.py:{name}"), PROBLEM)
    inputs = torch.zeros(2, 5, 4)
    learner.predict(inputs, None)
    learner.observe(Batch(inputs, torch.zeros(2, 5, dtype=torch.int64), torch.ones(3, dtype=torch.bool), None))
    learner.diagnostics()


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Raises", "Raises.observe raised ValueError: boom and more (mine.py, line 21)."),
        ("Exits", "Exits.observe raised SystemExit: 0 (mine.py, line 26)."),
        ("FailsDeep", "FailsDeep.observe raised RuntimeError: "),
        ("NoLoss", "NoLoss.observe must return the loss before the update: a tensor of shape (2,), one value a seed, got None."),
        (
            "FloatLoss",
            "FloatLoss.observe must return the loss before the update: a tensor of shape (2,), one value a seed, got 0.5.",
        ),
        (
            "OneLoss",
            "OneLoss.observe must return the loss before the update: a tensor of shape (2,), one value a seed, got a tensor",
        ),
        (
            "SingleLoss",
            "SingleLoss.observe must return the loss before the update: a tensor of shape (), one value, got a tensor (2,)",
        ),
        ("Numpy", "Numpy.predict must return a float tensor (S, N, C) of logits, got a ndarray."),
        ("Booleans", "Booleans.predict must return a float tensor (S, N, C) of logits, got a tensor (2, 5, 3) of bool."),
        ("NotMade", "NotMade.__init__ raised RuntimeError: no room (mine.py, line "),
        ("BadDiagnostics", "BadDiagnostics.diagnostics must return speed: a tensor of shape (2,)"),
        ("NoPredict", "NoPredict must define the method predict."),
    ],
)
def test_what_is_wrong_is_one_line(name: str, message: str) -> None:
    with pytest.raises(NlbenchError) as caught:
        present(name)
    assert caught.value.message.startswith(f"./mine.py:{message}")
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2


@pytest.mark.usefixtures("mine")
def test_the_users_own_interrupt_passes() -> None:
    with pytest.raises(KeyboardInterrupt):
        present("Stopped")


def test_a_file_that_fails_to_load_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.py").write_text("import torch\n\n1 / 0\n")
    with pytest.raises(NlbenchError, match=r"broken\.py raised ZeroDivisionError: division by zero \(broken\.py, line 3\)"):
        build(ExternalConfig(kind="./broken.py:X"), PROBLEM)
    (tmp_path / "typo.py").write_text("class X:\n    def f(:\n")
    with pytest.raises(NlbenchError, match=r"typo\.py, line 2: no Python: invalid syntax"):
        build(ExternalConfig(kind="./typo.py:X"), PROBLEM)


@pytest.mark.usefixtures("mine")
def test_a_run_of_it_leaves_no_record(tmp_path: Path) -> None:
    x = np.zeros((40, 4), dtype=np.float32)
    stream = nlbench.stream_from_arrays("small", [(x, np.arange(40) % 3, x, np.arange(40) % 3)] * 2, scenario="domain-il")
    with pytest.raises(NlbenchError, match=r"Exits\.observe raised SystemExit"):
        nlbench.run("./mine.py:Exits", stream, seeds=2, results=tmp_path / "r")
    assert not list((tmp_path / "r").glob("*.parquet"))
    assert nlbench.run("./mine.py:Fine", stream, seeds=2, results=tmp_path / "r").metric("average_accuracy")


@pytest.mark.usefixtures("mine")
def test_it_may_observe_batches_at_once_unless_observe_alone_was_changed(tmp_path: Path) -> None:
    x = np.zeros((40, 4), dtype=np.float32)
    tasks = [(x, np.arange(40) % 3, x, np.arange(40) % 3)] * 2
    stream = nlbench.stream_from_arrays("small", tasks, scenario="domain-il", batch=16)
    rows = [
        nlbench.run(f"./mine.py:{name}", stream, seeds=2, results=tmp_path / name).metric("average_accuracy")
        for name in ("AtOnce", "Again", "Fine")
    ]
    assert rows[0] == rows[1] == rows[2]
    with pytest.raises(NlbenchError, match=r"OneLossForAll\.observe_batches must return the losses .* shape \(3, 2\).* \(1, 2\)"):
        nlbench.run("./mine.py:OneLossForAll", stream, seeds=2, results=tmp_path / "r")


@pytest.mark.usefixtures("mine")
def test_a_learner_of_one_seed_that_does_not_say_so_is_told() -> None:
    with pytest.raises(NlbenchError, match=r"FailsDeep\.observe raised RuntimeError") as caught:
        present("FailsDeep")
    assert "single_seed = True" in caught.value.hint
    with pytest.raises(NlbenchError) as caught:
        present("NotMade")
    assert "single_seed" not in caught.value.hint


class Reading(nlbench.Learner):
    """Reads its rate as `how` does."""

    def __init__(self, config: Any, problem: Problem) -> None:
        self.rate = self.how(config)
        self.bias = torch.zeros(len(problem.seeds), 1, problem.n_classes)

    how = staticmethod(lambda config: config.get("rate", 0.1))

    def observe(self, batch: Batch) -> Tensor:
        return torch.zeros(len(self.bias))

    def predict(self, inputs: Tensor, task: int | None) -> Tensor:
        return self.bias.expand(-1, inputs.shape[1], -1)


@pytest.mark.parametrize(
    ("how", "refused"),
    [
        (lambda config: config.get("rate", 0.1), True),
        (lambda config: config.pop("rate", 0.1), True),
        (lambda config: dict(**config), False),
        (lambda config: {**config}, False),
        (lambda config: config, False),
    ],
)
def test_an_option_that_nobody_reads_is_refused_with_the_nearest_that_is_read(how, refused, tmp_path):
    kind = type("Reading", (Reading,), {"how": staticmethod(how)})
    problem = problem_of(running(small_stream()))
    External(kind, "./mine.py:Reading", {"rate": 0.2}, problem)
    if refused:
        with pytest.raises(
            NlbenchError, match=r"learner\.rata: is no option that \./mine\.py:Reading reads \(did you mean rate\?\)"
        ):
            External(kind, "./mine.py:Reading", {"rata": 0.2}, problem)
    else:
        made = External(kind, "./mine.py:Reading", {"rata": 0.2}, problem)
        assert type(made.learner.rate) is dict
        assert not left_out(made.state_dict())


@pytest.mark.usefixtures("mine")
def test_a_state_that_does_not_fit_is_no_fault_of_the_learners_code() -> None:
    fine, other = (build(ExternalConfig(kind=f"./mine.py:{name}"), PROBLEM) for name in ("Fine", "Other"))
    with pytest.raises(UnlikeError, match="what was saved is mine@:Fine, no mine@:Other"):
        other.load_state_dict(fine.state_dict())


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("rate", ["abc", [1], -1])
def test_what_a_learner_refuses_of_its_options_is_told_with_their_keys(rate: Any) -> None:
    with pytest.raises(NlbenchError, match=r"Rated\.__init__ raised ") as caught:
        build(ExternalConfig(kind="./mine.py:Rated", options={"rate": rate}), PROBLEM)
    assert f"It was given learner.rate = {rate!r}." in caught.value.hint


@pytest.mark.usefixtures("mine")
def test_what_fails_later_is_told_with_the_options_too() -> None:
    learner = build(ExternalConfig(kind="./mine.py:Reading", options={"rate": "abc"}), PROBLEM)
    with pytest.raises(NlbenchError, match=r"Reading\.end_task raised ") as caught:
        learner.end_task()
    assert "It was given learner.rate = 'abc'." in caught.value.hint
