"""What somebody else's learner keeps of test samples, wherever it keeps it, is refused and named."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_streams import problem_of, rows_of, running, small_stream, small_tasks

from nlbench.errors import NlbenchError
from nlbench.learners.building import build
from nlbench.specs import ExternalConfig

FILE = """
import torch
import nlbench

SEEN = {}


class Fine(nlbench.Learner):
    shared = {}
    sizes = []

    def __init__(self, config, problem):
        self.seeds, self.classes = len(problem.seeds), problem.n_classes

    def observe(self, batch):
        return torch.zeros(self.seeds)

    def predict(self, inputs, task):
        self.keep(inputs)
        return torch.zeros(self.seeds, inputs.shape[1], self.classes)

    def keep(self, inputs):
        pass


class Cache(Fine):
    def keep(self, inputs):
        SEEN[inputs[0].numpy().tobytes()] = len(SEEN)


class OfClass(Fine):
    def keep(self, inputs):
        self.shared[inputs[0].numpy().tobytes()] = len(self.shared)


class OfDefault(Fine):
    def keep(self, inputs, seen=[]):
        seen.append(inputs.shape[1])


class Anew(Fine):
    made_anew = ("seen",)

    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.seen = {}

    def keep(self, inputs):
        self.seen[inputs[0].numpy().tobytes()] = len(self.seen)


class Hidden(Fine):
    def state_dict(self):
        return {}

    def keep(self, inputs):
        self.last = inputs.sum()


class Single(Anew):
    single_seed = True

    def observe(self, batch):
        return torch.tensor(0.0)

    def predict(self, inputs, task):
        self.keep(inputs)
        return torch.zeros(len(inputs), self.classes)
"""


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("Cache", "SEEN"),
        ("OfClass", "class Fine/shared"),
        ("OfDefault", "class OfDefault/keep"),
        ("Anew", "learner/seen"),
        ("Hidden", "learner/last"),
        ("Single", "0/learner/seen"),
    ],
)
@pytest.mark.parametrize("evaluate", ["full", "within"])
def test_what_is_kept_while_it_predicts_is_refused_wherever_it_is(
    kind: str, where: str, evaluate: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "caches.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    protocol = {"evaluate": "full"} if evaluate == "full" else {"evaluate": "final", "evaluate_every": 8}
    stream = running(small_stream(tasks=small_tasks(2), **protocol), [0, 1])
    learner = build(ExternalConfig(kind=f"./caches.py:{kind}"), problem_of(stream))
    with pytest.raises(NlbenchError, match=rf"{kind}\.predict must change nothing, but changed .*{where}"):
        rows_of(learner, stream)


def test_one_from_outside_meets_mixed_blocks_before_it_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "caches.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    stream = running(small_stream(tasks=small_tasks(3)), [0, 1])
    learner = build(ExternalConfig(kind="./caches.py:Fine"), problem_of(stream))
    sizes, predict = [], learner.predict
    learner.predict = lambda inputs, task: sizes.append(inputs.shape[1]) or predict(inputs, task)  # type: ignore[method-assign]
    rows_of(learner, stream)
    assert sizes[:2] == [60, 20]
