"""Every example runs, in a copy of its folder, as its page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from command_line import nlbench, script

from nlbench import catalog
from nlbench.sweep.grid import read_grid

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
RUN = ("run", "--stream", "split-digits", "--model")
PLUGIN = ("-p", "nlbench.pytest_plugin", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", ".")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the examples."""
    return shutil.copytree(EXAMPLES, tmp_path_factory.mktemp("copy") / "examples")


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_page_names_every_example():
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    there = {path.name + ("/" if path.is_dir() else "") for path in EXAMPLES.iterdir() if path.name != "README.md"}
    assert set(re.findall(r"^\| \[[^]]+\]\(([^)]+)\)", page, flags=re.MULTILINE)) == there - {"__pycache__/"}


def test_one_sweep_is_of_every_learner_told_what_it_needs():
    points = read_grid(tomllib.loads((EXAMPLES / "all_methods.toml").read_text(encoding="utf-8")), "all_methods.toml").points()
    assert sorted(point.plan.model for point in points) == sorted(catalog.names("model"))
    told = {point.plan.model for point in points if point.plan.stream.stream.scenario == "task-il"}
    for point in points:
        assert ("task" in catalog.needs(point.plan.learner.learner.kind)) == (point.plan.model in told)


def test_a_network_learns_and_forgets(folder):
    code = (EXAMPLES / "network.py").read_text(encoding="utf-8")
    assert len([line for line in code[code.index("class Network") :].splitlines() if line.strip()]) <= 17
    ran = nlbench(folder, *RUN, "./network.py:Network", "--seeds", "2")
    assert ran.code == 0, ran.err
    learned, forgotten = (float(re.search(rf"^{name} +(\S+)", ran.out, re.M)[1]) for name in ("learning_accuracy", "forgetting"))
    assert learned > 0.8
    assert forgotten > 0.3


@pytest.mark.slow
def test_a_network_of_ones_own_on_images_goes_on_where_it_was_stopped_and_is_used_afterwards(folder, tmp_path):
    code = (EXAMPLES / "own_network.py").read_text(encoding="utf-8")
    network, use = code[code.index("class Network") : code.index("def images")], code[code.index("stream =") :]
    assert len([line for line in (network + use).splitlines() if line.strip()]) <= 20
    whole = script(folder, folder / "own_network.py")
    for part in ("results", "learners"):
        shutil.rmtree(folder / part)
    stopped = python(folder, "-c", STOPPED)
    assert "interrupted in task 3 after 10 batches" in stopped.stderr
    again = python(folder, "own_network.py")
    assert "going on in task 3 after 10 batches" in again.stderr
    assert again.stdout == whole
    assert whole.count("[") == 11 + 1  # ten rows of a matrix within brackets, and ten answers
    assert float(re.search(r"0: (0\.\d+)", whole)[1]) > 0.3


STOPPED = """
import os, runpy, nlbench
from nlbench.runner import pace
pace.EVERY = 0
run, ended = nlbench.run, lambda moment: moment.samples == 500 and os.kill(os.getpid(), 15)
nlbench.run = lambda *given, **options: run(*given, **{**options, "progress": ended})
runpy.run_path("own_network.py", run_name="__main__")
"""


@pytest.mark.skipif(find_spec("avalanche") is None, reason="needs avalanche-lib")
def test_a_strategy_of_avalanche_remembers_by_replay(folder):
    model = ("./avalanche_strategy.py:replay", "--seeds", "2", "--set", "protocol.boundaries=true")
    ran = nlbench(folder, *RUN, *model)
    assert ran.code == 0, ran.err
    assert float(re.search(r"average_accuracy +(\d\.\d+)", ran.out)[1]) > 0.6
    assert float(re.search(r"samples (\d+) kB", ran.out)[1]) > 300  # the buffer is a view of whole tasks


def test_prototypes_learn_all_seeds_at_once(folder):
    ran = nlbench(folder, *RUN, "./prototypes.py:Prototypes", "--seeds", "2")
    assert ran.code == 0, ran.err
    assert float(re.search(r"average_accuracy +(\d\.\d+)", ran.out)[1]) > 0.8


def test_the_nested_learning_library_trains_alone(folder):
    assert float(script(folder, folder / "nested.py")) < 2.3


@pytest.mark.slow
def test_hope_in_four_forms_is_compared(folder):
    shown = script(folder, folder / "continual_digits.py")
    rows = re.findall(r"^\| (\S+) \| 3 \| batch \d+ \| (\d\.\d+)", shown, flags=re.MULTILINE)
    accuracy = {name: float(value) for name, value in rows}
    assert accuracy["hope"] > 0.98
    assert accuracy["cms-headwise"] > 0.75
    assert accuracy["hope-paper-stream"] > accuracy["hope-paper"] > 0.1


def notebook(folder: Path, name: str) -> str:
    """What the cells of a notebook print, run from top to bottom; those kept in the repository hold no output."""
    cells = json.loads((folder / name).read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    ran = python(folder, "-c", "\n".join("".join(cell["source"]) for cell in code))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_a_notebook_of_memories_shows_what_each_rule_forgets(folder):
    shown = re.findall(
        r"^(\S+): (\S+) after its task, (\S+) after the next$", notebook(folder, "memories.ipynb"), flags=re.MULTILINE
    )
    errors = {rule: (float(before), float(after)) for rule, before, after in shown}
    assert max(errors["metric"]) < 0.01
    for rule in ("gd", "dgd"):
        assert 0.5 < errors[rule][0] < errors[rule][1] - 0.05


@pytest.mark.slow
def test_a_notebook_of_forgetting_shows_what_remembers(folder):
    shown = notebook(folder, "forgetting.ipynb").replace("without filters", "without")
    lines = dict(re.findall(r"^(\S+) \{0: (0\.\d+)", shown, flags=re.MULTILINE))
    assert float(lines["hope"]) > float(lines["without"]) > 0.95
    assert float(lines["hope"]) > 0.98
    assert 0.7 < float(lines["cms-headwise"]) < 0.95


def test_arrays_become_a_stream_on_which_learners_are_compared(folder):
    shown = script(folder, folder / "arrays.py")
    rows = dict(re.findall(r"^\| (mlp|joint-one-pass) \| 10 \| (\d\.\d+)", shown, flags=re.MULTILINE))
    assert set(rows) == {"mlp", "joint-one-pass"}
    assert all(float(value) > 0.5 for value in rows.values())


GATE = f"""
import sys, pytest
gate = {["-q", *PLUGIN, "gate"]}
green = pytest.main(gate)
print("changed")
with open("network.py", encoding="utf-8") as file:
    healthy = file.read()
for text in (healthy.replace('"rate", 0.01', '"rate", 0.05'), healthy):
    with open("network.py", "w", encoding="utf-8") as file:
        file.write(text)
    if text != healthy:
        red = pytest.main(gate)
sys.exit(10 * green + red)
"""


@pytest.mark.slow
def test_the_gate_passes_its_own_reference_and_catches_a_worse_rate(folder):
    """With five seeds, where the example takes as many as a run does."""
    seeds = 5
    made = nlbench(folder, *RUN, "./network.py:Network", "--results", "results/reference", "--seeds", str(seeds))
    assert made.code == 0, made.err
    test = folder / "gate" / "test_forgetting.py"
    test.write_text(
        test.read_text(encoding="utf-8").replace('"split-digits")', f'"split-digits", seeds={seeds})'), encoding="utf-8"
    )
    done = python(folder, "-c", GATE)
    assert done.returncode == 1, done.stdout + done.stderr
    green, red = done.stdout.split("changed\n")
    assert "1 passed" in green
    assert "worse than the reference" not in green
    assert "worse than the reference" in red


def test_the_workflow_of_the_gate_runs_the_test():
    (job,) = yaml.safe_load((EXAMPLES / "gate" / "forgetting.yml").read_text(encoding="utf-8"))["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step][-1] == "pytest gate"
