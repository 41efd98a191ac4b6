"""What stands around the package: citation, changelog, workflow, hooks and the page for language models say what is so."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

import nlbench

ROOT = Path(__file__).parents[1]


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_citation_is_complete_and_of_this_version():
    citation = yaml.safe_load(text("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == nlbench.__version__


def test_the_changelog_starts_with_what_is_not_released_and_keeps_to_the_known_kinds():
    changelog = text("CHANGELOG.md")
    assert re.findall(r"^## (.*)$", changelog, flags=re.MULTILINE)[0] == "[Unreleased]"
    kinds = set(re.findall(r"^### (.*)$", changelog, flags=re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_workflow_does_what_ci_run_does_on_three_systems():
    (job,) = yaml.safe_load(text(".github/workflows/ci.yml"))["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert {each.partition("-")[0] for each in job["strategy"]["matrix"]["os"]} == {"ubuntu", "macos", "windows"}
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"]


def test_the_hooks_call_installed_tools_with_options_they_know():
    (repository,) = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"]
    for hook in repository["hooks"]:
        tool, *arguments = hook["entry"].split()
        command = [sys.executable, "-m", tool] if tool == "nlbench" else [shutil.which(tool)]
        given = "tasks/split-digits.toml" if tool == "nlbench" else "tests/test_repository.py"
        done = subprocess.run([*command, *arguments, given], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_for_language_models_names_pages_and_commands_that_exist():
    page = text("llms.txt")
    assert all((ROOT / target).is_file() for target in re.findall(r"\]\(([^)]+)\)", page))
    command = [sys.executable, "-m", "nlbench", "--help"]
    known = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = re.findall(r"^- `nlbench (\w+)`", page, flags=re.MULTILINE)
    assert named
    assert [name for name in named if not re.search(rf"^. {name} ", known, flags=re.MULTILINE)] == []
