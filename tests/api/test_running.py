"""What runs from Python: seeds, machines, streams and learners of one's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_streams import small_stream

import nlbench
from nlbench import NlbenchError, api
from nlbench.errors import UnknownNameError


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
    ],
)
def test_seeds_are_a_number_or_a_list(given: Any, seeds: tuple[int, ...]) -> None:
    assert api.parse_seeds(given) == seeds


@pytest.mark.parametrize(
    "given", ["", ",", "a", "1.5", "3;7", "-1", "1,-2", "0", 0, -3, [], [-1], [1.5], "18446744073709551616,", [True, "1"]]
)
def test_what_is_no_seed_is_one_line(given: Any) -> None:
    with pytest.raises(NlbenchError, match=r"^seeds must be") as caught:
        api.parse_seeds(given)
    assert "\n" not in str(caught.value)


def test_the_machine_is_named_by_keywords_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown backend 'cuda'"):
        nlbench.run("mlp", small_stream(), seeds=1, results=tmp_path, backend="cuda")
    assert not list(tmp_path.glob("*.parquet"))


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


def test_modules_are_not_looked_through_for_garbage() -> None:
    ask = "print(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    code = f"import gc\nfrom nlbench.api.running import running_half\nrunning_half()\n{ask}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "True"]
