"""What a learner learns into its class, its module or a function is not saved with it: that is said, and no checkpoint kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from small_streams import problem_of, rows_of, running, small_stream, small_tasks

from nlbench import Batch, NlbenchError
from nlbench.learners.building import build
from nlbench.specs import ExternalConfig
from nlbench.state import left_out

HELPER = """
STORE = []


def keep(sample):
    STORE.append(sample)
"""

LEARNERS = """
import itertools
import random
import threading
from contextvars import ContextVar
from functools import lru_cache

import helper
import numpy as np
import torch
from helper import keep

import nlbench

COUNT, SEEN, WEIGHTS, DRAWS, NUMBERS = 0, {}, torch.zeros(2), random.Random(0), itertools.count()
CONTEXT, THREAD = ContextVar("seen", default=0), threading.local()
CONSTANT = {"rate": 0.1}


def counted(total=[0]):
    total[0] += 1


def counter():
    steps = 0

    def step():
        nonlocal steps
        steps += 1

    return step


STEP = counter()


@lru_cache
def table(n):
    return n


class Nothing(nlbench.Learner):
    samples = []
    steps = 0

    def __init__(self, config, problem):
        self.seeds, self.classes, self.rate = len(problem.seeds), problem.n_classes, CONSTANT["rate"]

    def observe(self, batch):
        self.learn(batch)
        return torch.zeros(self.seeds)

    def predict(self, inputs, task):
        return torch.zeros(self.seeds, inputs.shape[1], self.classes)

    def learn(self, batch):
        table(3)


class OfClass(Nothing):
    def learn(self, batch):
        self.samples.append(batch.inputs)


class NumberOfClass(Nothing):
    def learn(self, batch):
        type(self).steps += 1


class OfModule(Nothing):
    def learn(self, batch):
        SEEN[len(SEEN)] = batch.labels


class NumberOfModule(Nothing):
    def learn(self, batch):
        global COUNT
        COUNT += 1


class TensorOfModule(Nothing):
    def learn(self, batch):
        WEIGHTS.add_(1)


class Drawing(Nothing):
    def learn(self, batch):
        DRAWS.random()


class Counting(Nothing):
    def learn(self, batch):
        next(NUMBERS)


class OfContext(Nothing):
    def learn(self, batch):
        CONTEXT.set(CONTEXT.get() + 1)


class OfThread(Nothing):
    def learn(self, batch):
        THREAD.seen = getattr(THREAD, "seen", 0) + 1


class OfDefault(Nothing):
    def learn(self, batch):
        counted()


class OfClosure(Nothing):
    def learn(self, batch):
        STEP()


class OfSibling(Nothing):
    def learn(self, batch):
        keep(batch.inputs)


class OfSiblingByName(Nothing):
    def learn(self, batch):
        helper.STORE.append(batch.inputs)


@torch.compile(backend="eager")
def doubled(x):
    SEEN.setdefault("of compiled", 0)
    return x * 2


class Compiled(Nothing):
    def learn(self, batch):
        table(len(batch.inputs))
        self.last = doubled(batch.inputs)


class Peeking(Nothing):
    def predict(self, inputs, task):
        helper.STORE.append(inputs)
        return super().predict(inputs, task)


class Notes:
    made_anew = ("seen",)

    def __init__(self):
        self.seen = []


class PeekingInside(Nothing):
    def __init__(self, config, problem):
        super().__init__(config, problem)
        self.notes = Notes()

    def predict(self, inputs, task):
        self.notes.seen.append(inputs)
        return super().predict(inputs, task)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "besides.py").write_text(LEARNERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(kind: str):
    stream = running(small_stream(tasks=small_tasks(2)), [0, 1])
    return build(ExternalConfig(kind=f"./besides.py:{kind}"), problem_of(stream)), stream


def batch(seeds: int = 2) -> Batch:
    return Batch(torch.ones(seeds, 4, 3), torch.zeros(seeds, 4, dtype=torch.int64), torch.ones(seeds, 2, dtype=torch.bool), None)


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("OfClass", r"class Nothing\.samples"),
        ("NumberOfClass", r"class .*\.steps"),
        ("OfModule", r"module besides.*\.SEEN"),
        ("NumberOfModule", r"module besides.*\.COUNT"),
        ("TensorOfModule", r"module besides.*\.WEIGHTS"),
        ("Drawing", r"module besides.*\.DRAWS"),
        ("OfContext", r"module besides.*\.CONTEXT"),
        ("OfThread", r"module besides.*\.THREAD"),
        ("OfDefault", "function counted"),
        ("OfClosure", r"function counter\.<locals>\.step"),
        ("OfSibling", r"module helper.*\.STORE"),
        ("OfSiblingByName", r"module helper.*\.STORE"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_changes_beside_a_learner_is_named(kind: str, where: str) -> None:
    learner, _ = made(kind)
    assert not left_out(learner.state_dict())
    learner.observe(batch())
    (line,) = left_out(learner.state_dict())
    assert re.match(f"{where}.* has changed since the run began, and the learner does not hold it", line), line


@pytest.mark.usefixtures("folder")
def test_an_iterator_is_named_before_the_first_batch_and_what_stays_the_same_is_not() -> None:
    counting, nothing = made("Counting")[0], made("Nothing")[0]
    (line,) = left_out(counting.state_dict())
    assert "NUMBERS: an iterator, whose place nothing can read" in line
    nothing.observe(batch())
    assert not left_out(nothing.state_dict())


@pytest.mark.usefixtures("folder")
def test_what_a_compiler_keeps_of_a_function_is_no_change_and_what_the_function_changes_is() -> None:
    learner = made("Compiled")[0]
    learner.observe(batch())
    (line,) = left_out(learner.state_dict())
    assert "SEEN has changed" in line


@pytest.mark.parametrize(("kind", "where"), [("Peeking", "module helper.*/STORE"), ("PeekingInside", r"learner/notes\.seen")])
@pytest.mark.usefixtures("folder")
def test_test_samples_kept_in_a_sibling_or_in_what_is_made_anew_are_found(kind: str, where: str) -> None:
    learner, stream = made(kind)
    with pytest.raises(NlbenchError, match=f"predict must change nothing, but changed {where}"):
        rows_of(learner, stream)
