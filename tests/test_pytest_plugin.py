from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nlbench
from nlbench.records import Record, rewrite_record

CHECK = """
def test_forgetting(nlbench_check):
    judgement = nlbench_check("mlp", "split-digits"{options})
    assert {{finding.metric for finding in judgement.findings}} == {{"average_accuracy", "forgetting"}}
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """The record of mlp on split-digits, ten seeds."""
    return nlbench.run("mlp", "split-digits", results=tmp_path_factory.mktemp("results")).record


def session(folder: Path, *, options: str = "") -> subprocess.CompletedProcess[str]:
    """Run a pytest session of one test in a folder that is its root."""
    (folder / "test_gate.py").write_text(CHECK.format(options=options))
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "nlbench.pytest_plugin", "-p", "no:cacheprovider", str(folder)]
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": str(Path(nlbench.__file__).parents[1]),
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_green_then_red(tmp_path: Path, recorded: Record) -> None:
    rewrite_record(recorded, tmp_path / "results" / "reference" / recorded.path.name)
    green = session(tmp_path)
    assert green.returncode == 0, green.stdout
    red = session(tmp_path, options=', overrides={"learner.rate": "0.001"}')
    assert red.returncode == 1
    assert "mlp on split-digits: worse than the reference" in red.stdout
    assert "changed  learner_spec.learner.rate: 0.001 / 0.01" in red.stdout
    assert "Traceback" not in red.stdout


def test_what_cannot_be_judged_fails(tmp_path: Path, recorded: Record) -> None:
    reference = rewrite_record(recorded, tmp_path / "reference" / "r.parquet")
    few = session(tmp_path, options=f', against="{reference}", seeds=2')
    assert few.returncode == 1
    assert "the record has 2 seeds, the reference asks for 10." in few.stdout


def test_loading_the_plugin_imports_no_torch() -> None:
    code = "import sys, pytest; import nlbench.pytest_plugin; print({'torch', 'numpy', 'pyarrow'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
