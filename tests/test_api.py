from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_streams import small_stream

import nlbench
from nlbench import NlbenchError, api
from nlbench.errors import RecordError, UnknownNameError


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


@pytest.mark.parametrize("name", nlbench.__all__)
def test_public_names_resolve_and_no_module_shares_a_name_with_one(name: str) -> None:
    assert getattr(nlbench, name) is not None
    assert importlib.util.find_spec(f"nlbench.{name}") is None


def test_what_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'nlbench' has no attribute 'runn'"):
        nlbench.runn  # noqa: B018


def test_a_run_answers_with_its_record_and_compares_with_another(tmp_path: Path) -> None:
    heard: list[Any] = []
    mlp = nlbench.run("mlp", "split-digits", seeds=3, results=tmp_path, listen=heard.append)
    joint = nlbench.run("joint", "split-digits", seeds=3, results=tmp_path)
    assert {row.metric for row in heard} >= {"accuracy", "accuracy_within", "chance", "seconds.train"}
    frame = mlp.to_pandas()
    assert set(frame.columns) >= {"model", "stream", "seed", "after_task", "on_task", "metric", "value"}
    assert frame[frame.metric == "average_accuracy"].set_index("seed").value.to_dict() == mlp.metric("average_accuracy")
    assert [record.path for record in nlbench.load(tmp_path)] == sorted([mlp.path, joint.path])
    compared = nlbench.compare([mlp.record, joint.path], baseline="mlp")
    assert len(compared.groups) == 1
    assert {entry.label for entry in compared.groups[0].entries} == {"mlp", "joint"}
    mean = {model.record.model: sum(model.metric("average_accuracy").values()) / 3 for model in (mlp, joint)}
    assert mean["joint"] > mean["mlp"] + 0.5
    assert len(compared.to_pandas()) > 0


def test_loading_what_is_no_record_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no record found"):
        nlbench.load(tmp_path)


def test_what_names_no_record_is_never_judged_to_be_well(tmp_path: Path) -> None:
    for judge in (api.check_all, api.update_references):
        for path in (tmp_path, tmp_path / "x*.parquet"):
            with pytest.raises(RecordError, match="holds no record"):
                judge([path])


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


def test_nothing_that_reads_imports_torch(tmp_path: Path) -> None:
    """One process for all: resolving a plan, finding it recorded, loading, comparing, and what the commands of readers do."""
    nlbench.run("mlp", "split-digits", seeds=2, results=tmp_path)
    nlbench.run("chance", "split-digits", seeds=2, results=tmp_path)
    script = f"""
import sys
import nlbench
from nlbench.cli import main

def command(*arguments):
    sys.argv = ["nlbench", *arguments]
    try:
        main()
    except SystemExit as stopped:
        assert stopped.code in (0, None), (arguments, stopped.code)
    found = {{"torch", "torchvision", "numba", "triton"}} & set(sys.modules)
    assert not found, (arguments, found)

results = {str(tmp_path)!r}
assert nlbench.run("mlp", "split-digits", seeds=2, results=results).seeds_run == ()
command("--help")
command("--version")
command("list", "--results", results)
command("compare", results)
command("compare", results, "--format", "json")
command("show", "mlp")
command("show", str(nlbench.load(results)[0].path))
command("validate", str(nlbench.load(results)[0].path))
command("run", "--model", "mlp", "--stream", "split-digits", "--seeds", "2", "--results", results)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_modules_are_not_looked_through_for_garbage() -> None:
    ask = "print(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    code = f"import gc\nfrom nlbench.api.running import running_half\nrunning_half()\n{ask}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["True", "True"]
