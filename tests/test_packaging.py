"""The wheel carries the catalog and works outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]


def test_wheel_holds_the_whole_catalog(wheel):
    names = set(ZipFile(wheel).namelist())
    for folder in ("tasks", "baselines", "results/reference"):
        expected = {f"nlbench/_catalog/{folder}/{path.name}" for path in (ROOT / folder).glob("*.*")}
        assert expected
        assert expected <= names
    assert "nlbench/py.typed" in names


def test_wheel_runs_outside_the_checkout(site, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def nlbench(*arguments):
        command = [sys.executable, "-m", "nlbench", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    assert "split-digits" in nlbench("list", "streams")
    nlbench("run", "--model", "chance", "--stream", "split-digits", "--seeds", "2")
    assert len(list((tmp_path / "results").glob("chance.split-digits.*.parquet"))) == 1
    where = subprocess.run(
        [sys.executable, "-c", "import nlbench; print(nlbench.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(site) in where.stdout
