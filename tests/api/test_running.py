"""What runs from Python: seeds, machines, streams and learners of one's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_streams import small_stream, small_tasks

import nlbench
from nlbench import NlbenchError, api
from nlbench.api import running
from nlbench.errors import UnknownNameError
from nlbench.launching import complete
from nlbench.plan import Machine
from nlbench.records import Record, read_record


@pytest.mark.parametrize(
    ("given", "seeds"),
    [
        (5, (0, 1, 2, 3, 4)),
        ("5", (0, 1, 2, 3, 4)),
        (" 2 ", (0, 1)),
        ("3,7", (3, 7)),
        ("3,", (3,)),
        ("7, 3,7", (3, 7)),
        ([4, 0], (0, 4)),
        (range(2), (0, 1)),
        (np.int64(2), (0, 1)),
        (np.array([3, 1]), (1, 3)),
    ],
)
def test_seeds_are_a_number_or_a_list(given: Any, seeds: tuple[int, ...]) -> None:
    assert api.parse_seeds(given) == seeds


@pytest.mark.parametrize(
    "given",
    [
        "",
        ",",
        "a",
        "1.5",
        "3;7",
        "-1",
        "1,-2",
        "0",
        0,
        -3,
        [],
        [-1],
        [1.5],
        "18446744073709551616,",
        "9" * 5000,
        10**8,
        [True, "1"],
        1.5,
        None,
    ],
)
def test_what_is_no_seed_is_one_line(given: Any) -> None:
    with pytest.raises(NlbenchError, match=r"^seeds must be") as caught:
        api.parse_seeds(given)
    assert "\n" not in str(caught.value)


def test_the_machine_is_named_by_keywords_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown backend 'cuda'"):
        nlbench.run("mlp", small_stream(), seeds=1, results=tmp_path, backend="cuda")
    assert not list(tmp_path.glob("*.parquet"))


@pytest.mark.parametrize(
    ("keyword", "line"),
    [
        ({"seed": 3}, "unknown keyword of run 'seed'. Did you mean seeds"),
        ({"devise": "cpu"}, "unknown keyword of run 'devise'. Did you mean device"),
        (
            {"passes": 4},
            'unknown keyword of run \'passes\'. Override what the protocol says: overrides={"protocol.passes": "4"}.',
        ),
    ],
)
def test_an_unknown_keyword_runs_nothing_and_names_the_nearest(tmp_path: Path, keyword: dict[str, Any], line: str) -> None:
    with pytest.raises(NlbenchError) as caught:
        nlbench.run("mlp", small_stream(), results=tmp_path / "r", **keyword)
    assert str(caught.value).startswith(line)
    assert not (tmp_path / "r").exists()
    with pytest.raises(UnknownNameError, match=r"unknown keyword of tune 'budgets'\. Did you mean budget\?"):
        api.tune("mlp", "split-digits", {"learner.rate": ["0.1"]}, budgets=2)  # type: ignore[call-arg]
    with pytest.raises(UnknownNameError, match=r"unknown keyword of options 'backends'\. Did you mean backend\?"):
        api.options(backends="numba")  # type: ignore[call-arg]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "60", None, True])
def test_what_is_no_number_of_seconds_is_refused(tmp_path: Path, seconds: Any) -> None:
    """Else a run would keep no checkpoints within tasks, without a word."""
    with pytest.raises(NlbenchError, match="checkpoint_every: must be a number of seconds from 0, got"):
        nlbench.run("mlp", small_stream(), results=tmp_path / "r", checkpoint_every=seconds)
    assert not (tmp_path / "r").exists()


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    plain = small_stream(batch=8, passes=2)
    stream = small_stream(batch=np.int64(8), passes=np.uint8(2), prequential=np.bool_(False))
    assert stream.digest == plain.digest
    overrides: Any = {"learner.rate": np.float64(0.25), "learner.hidden": [8], "protocol.passes": np.int64(3)}
    plan = nlbench.resolve("mlp", stream, seeds=np.int64(1), overrides=overrides)
    assert (plan.learner.learner.rate, plan.learner.learner.hidden, plan.stream.protocol.passes) == (0.25, (8,), 3)


def test_tasks_that_all_have_the_same_classes_are_not_class_incremental(tmp_path: Path) -> None:
    tasks = small_tasks(shared_labels=True)
    with pytest.raises(NlbenchError, match=r"small: all 3 tasks have the same classes, .*Call it domain-il"):
        nlbench.run("mlp", small_stream(tasks=tasks), seeds=1, results=tmp_path)
    for scenario in ("domain-il", "task-il"):
        assert nlbench.run("mlp", small_stream(tasks=tasks), seeds=1, results=tmp_path, scenario=scenario).seeds_run == (0,)
    assert nlbench.run("mlp", small_stream(tasks=tasks[:1]), seeds=1, results=tmp_path).seeds_run == (0,)


def test_a_learner_trains_as_torch_users_write_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from nlbench import Learner\n"
        "class Mine(Learner):\n"
        "    single_seed = True\n"
        "    def __init__(self, config, problem):\n"
        "        self.net = torch.nn.Linear(problem.n_inputs, problem.n_classes)\n"
        "        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)\n"
        "    def observe(self, batch):\n"
        "        loss = torch.nn.functional.cross_entropy(self.net(batch.inputs), batch.labels)\n"
        "        self.optimizer.zero_grad()\n"
        "        loss.backward()\n"
        "        self.optimizer.step()\n"
        "        return loss\n"
        "    def predict(self, inputs, task):\n"
        "        return self.net(inputs)\n"
    )
    done = nlbench.run(f"{tmp_path}/mine.py:Mine", small_stream(scenario="domain-il", passes=5), seeds=2, results=tmp_path)
    assert min(value for value in done.metric("learning_accuracy").values() if value is not None) > 0.7


def test_a_custom_stream_and_learner_run_together(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from nlbench import Learner\n"
        "class Mine(Learner):\n"
        "    single_seed = True\n"
        "    def __init__(self, config, problem):\n"
        "        self.net = torch.nn.Linear(problem.n_inputs, problem.n_classes)\n"
        "        torch.nn.init.zeros_(self.net.weight)\n"
        "        torch.nn.init.zeros_(self.net.bias)\n"
        "        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=config.get('rate', 0.1))\n"
        "    def observe(self, batch):\n"
        "        with torch.enable_grad():\n"
        "            loss = torch.nn.functional.cross_entropy(self.net(batch.inputs), batch.labels)\n"
        "        self.optimizer.zero_grad()\n"
        "        loss.backward()\n"
        "        self.optimizer.step()\n"
        "        return loss\n"
        "    def predict(self, inputs, task):\n"
        "        return self.net(inputs)\n"
    )
    stream, model = small_stream(scenario="domain-il", passes=5, evaluate_every=8), f"{tmp_path}/mine.py:Mine"
    done = nlbench.run(model, stream, seeds=2, results=tmp_path / "a", overrides={"learner.rate": "0.05"})
    assert done.record.model == "Mine"
    assert done.metric("learning_accuracy")[0] > 0.8
    assert done.record.bytes()["parameters"] > 0

    def stop(row: Any) -> None:
        if row.after_task == 2 and row.metric == "accuracy":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nlbench.run(model, stream, seeds=2, results=tmp_path / "b", overrides={"learner.rate": "0.05"}, listen=stop)
    resumed = nlbench.run(model, stream, seeds=2, results=tmp_path / "b", overrides={"learner.rate": "0.05"})
    assert (resumed.record.accuracies == done.record.accuracies).all()


NOTEBOOK = """
import sys, warnings
import numpy as np
import nlbench

cells = vars(sys.modules["__main__"])
CELL = '''
import torch

def chosen(inputs, classes):
    return torch.nn.functional.one_hot(torch.zeros(len(inputs), dtype=int), classes).float()

class Mine(nlbench.Learner):
    single_seed = True
    def __init__(self, config, problem):
        self.classes, self.seen = problem.n_classes, 0
    def observe(self, batch):
        self.seen += 1
        return torch.zeros(())
    def predict(self, inputs, task):
        return chosen(inputs, self.classes)
'''

def cell(text):
    exec(compile(text, "<cell>", "exec"), cells)

def answer(model):
    done = nlbench.run(model, stream, seeds=1, results=sys.argv[1])
    print(done.record.model, done.record.footer.learner_kind, done.seeds_run, done.metric("average_accuracy")[0])

x, y = np.zeros((40, 3), np.float32), (np.arange(40) % 4 == 0).astype(int)
stream = nlbench.stream_from_arrays("s", [(x, y, x, y)] * 2, scenario="domain-il")
cell(CELL)
answer(Mine)
cell(CELL + "# the same once more")
answer(Mine)
answer("__main__:Mine")
cell(CELL.replace("zeros(len(inputs)", "ones(len(inputs)"))
answer(Mine)
cell("import threading\\nLOCK = threading.Lock()\\n" + CELL.replace("self.seen += 1", "LOCK.locked()"))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    answer(Mine)
    answer(Mine)
print(caught[0].message)
print(nlbench.load(sys.argv[1])[0].footer.code["learner"] != "", len(nlbench.load(sys.argv[1])))
try:
    answer("__main__:Main")
except nlbench.NlbenchError as error:
    print(error)
try:
    answer(Mine({}, type("P", (), {"n_classes": 2})))
except nlbench.NlbenchError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_class_of_a_notebook_runs_and_an_older_definition_is_never_brought_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NOTEBOOK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[:6] == [
        "Mine __main__:Mine (0,) 0.75",
        "Mine __main__:Mine () 0.75",
        "Mine __main__:Mine () 0.75",
        "Mine __main__:Mine (0,) 0.25",
        "Mine __main__:Mine (0,) 0.75",
        "Mine __main__:Mine (0,) 0.75",
    ]
    assert lines[6].startswith("__main__:Mine holds a lock, which says nothing of what it does: the same call will run anew")
    assert lines[7] == "True 4"
    assert lines[8].startswith("unknown learner of this session 'Main'. Did you mean Mine")
    assert lines[9].startswith(
        "model: must be a name, a file, a class, a torch module or an estimator with partial_fit, got an object of Mine."
    )


def test_seeds_that_another_run_took_away_before_they_were_read_are_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = []

    def read_late(path: Path) -> Record:
        if not reads:  # what a forced run of another process does between our writing and our reading
            other = nlbench.resolve("mlp", "split-digits", seeds=[7])
            complete(other, tmp_path, Machine(device="cpu"), force=True, tell=lambda remark: None)
        reads.append(read_record(path))
        return reads[-1]

    monkeypatch.setattr(running, "read_record", read_late)
    done = nlbench.run("mlp", "split-digits", seeds=[3], results=tmp_path, device="cpu")
    assert (reads[0].seeds, done.record.seeds, done.seeds_run) == ((7,), (3, 7), (3,))
