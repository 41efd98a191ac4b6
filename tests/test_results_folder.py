"""The pull-request check of a folder of results, word for word as documented, in a repository of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from altered_records import altered, better

from nlbench import api
from nlbench.records import Record

ROOT = Path(__file__).parents[1]
WORKFLOW = yaml.safe_load(
    re.search("```yaml\n(name: records.*?)```", (ROOT / "docs/publish.md").read_text(encoding="utf-8"), re.DOTALL)[1]  # type: ignore[index]
)


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def checked(folder: Path) -> tuple[int, str]:
    """Run the workflow's commands after the install as GitHub would; return the first status that is not 0, and what was said."""
    tools = folder.parent / "bin"
    tools.mkdir(exist_ok=True)
    (tools / "nlbench").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nlbench "$@"\n')
    (tools / "nlbench").chmod(0o755)
    environment = {
        **os.environ,
        "GITHUB_BASE_REF": "main",
        "GITHUB_STEP_SUMMARY": str(folder.parent / "summary.md"),
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    said = ""
    for step in [step["run"] for step in WORKFLOW["jobs"]["check"]["steps"] if "run" in step][1:]:
        done = subprocess.run(
            ["bash", "-e", "-c", step], cwd=folder, env=environment, check=False, capture_output=True, text=True
        )
        said += done.stdout + done.stderr
        if done.returncode:
            return done.returncode, said
    return 0, said


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Record]:
    """A repository with a reference on its main branch, and a record of the same learner that is not committed."""
    folder = tmp_path / "repository"
    folder.mkdir()
    monkeypatch.chdir(folder)
    record = api.run("mlp", "split-digits", seeds=3, results="results").record
    git(folder, "init", "-q", "-b", "main")
    (folder / "results/reference").mkdir()
    (folder / "results/reference" / record.path.name).write_bytes(record.path.read_bytes())
    git(folder, "add", "results/reference")
    git(folder, "commit", "-qm", "reference")
    git(folder, "update-ref", "refs/remotes/origin/main", "HEAD")
    return folder, record


@pytest.mark.slow
def test_an_honest_record_passes_and_an_altered_one_is_refused(repository):
    folder, record = repository
    git(folder, "add", record.path.as_posix())
    git(folder, "commit", "-qm", "a record")
    status, said = checked(folder)
    assert status == 0, said
    assert "mlp on split-digits, seeds 0 to 2 run again: equal" in said
    assert "mlp on split-digits: passed" in said
    altered(record, folder / record.path, better(1, 6))
    git(folder, "commit", "-qam", "a better record")
    status, said = checked(folder)
    assert status == 1, said
    assert "run again: different" in said
