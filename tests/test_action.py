"""The composite action's own shell lines: green on the recipe, red on one that forgets, with their reports."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import nlbench

ROOT = Path(__file__).parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def filled(text: str, known: dict[str, str]) -> str:
    """Return the text with what stands in ${{ … }} looked up."""
    return re.sub(r"\$\{\{ (\S+) \}\}", lambda found: known[found[1]], text)


def steps(values: dict[str, str], folder: Path) -> int:
    """Run the action's steps after the install as GitHub would, and return the first status that is not 0."""
    tools = folder / "bin"
    tools.mkdir()
    (tools / "nlbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nlbench "$@"\n')
    (tools / "nlbench").chmod(0o755)
    files = {name: folder / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    inputs = {name: values.get(name, fact.get("default", "")) for name, fact in ACTION["inputs"].items()}
    for step in ACTION["runs"]["steps"][1:]:
        outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines()) if "env" in step else {}
        known = {f"inputs.{name}": value for name, value in inputs.items()}
        known |= {f"steps.run.outputs.{name}": value for name, value in outputs.items()}
        given = {name: filled(text, known) for name, text in step["env"].items()}
        environment = {
            **os.environ,
            **given,
            **{name: str(path) for name, path in files.items()},
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "GITHUB_ACTIONS": "true",
        }
        status = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", step["run"]], cwd=folder, env=environment, check=False
        ).returncode
        if status:
            return status
    return 0


@pytest.mark.slow
@pytest.mark.parametrize(("retain", "status", "verdict"), [("1.0", 0, "ok"), ("0.5", 1, "worse")])
def test_the_action_passes_a_healthy_learner_and_fails_one_that_forgets(
    retain: str, status: int, verdict: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "random-features.toml"
    healthy = (ROOT / "baselines" / "random-features.toml").read_text(encoding="utf-8")
    changed = healthy.replace('readout = { rule = "exact",', f'readout = {{ rule = "exact", retain = {retain},')
    recipe.write_text(changed, encoding="utf-8")
    (tmp_path / "GITHUB_OUTPUT").touch()
    values = {"model": str(recipe), "stream": "split-digits", "against": str(tmp_path / "reference")}
    nlbench.run("random-features", "split-digits", seeds=5, results=tmp_path / "reference")
    assert steps(values, tmp_path) == status
    summary = (tmp_path / "GITHUB_STEP_SUMMARY").read_text(encoding="utf-8")
    assert "forgetting" in summary
    assert verdict in summary
    assert ("failure" in (tmp_path / "nlbench-check.xml").read_text(encoding="utf-8").replace('failures="0"', "")) == bool(status)


def test_the_install_step_installs_the_action_s_own_version_unless_told() -> None:
    install = ACTION["runs"]["steps"][0]
    assert install["env"]["PACKAGE"] == "${{ inputs.install || github.action_path }}"
    assert install["if"] == "inputs.install != 'none'"
    assert '"$PACKAGE"' in install["run"]
