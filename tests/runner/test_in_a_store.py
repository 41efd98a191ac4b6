"""A whole study whose results lie in an object store: run, resumed, compared, judged, reported, published, run again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from object_store import store

from nlbench import api
from nlbench.places import place
from nlbench.records.storage import storage
from nlbench.records.store import replace_file

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def results():
    with store() as url:
        yield f"{url}/results"


@pytest.mark.slow
def test_a_study_in_a_store(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = api.run("random-features", "split-digits", seeds=2, results=results)
    more = api.run("random-features", "split-digits", seeds=3, results=results)
    assert (first.seeds_run, more.seeds_run) == ((0, 1), (2,))
    assert str(more.path).startswith(results)
    api.run("mlp", "split-digits", seeds=3, results=results)
    compared = api.compare([results])
    assert {entry.label for entry in compared.groups[0].entries} == {"mlp", "random-features"}
    replace_file(place(f"{results}-reference") / more.path.name, more.record.contents[0].data)
    assert [one.exit_status for one in api.check_all([more.path], against=f"{results}-reference")] == [0]
    assert api.check(more.path, against=f"{results}-none").exit_status == 2
    page = api.report([results], f"{results}-pages/report.html").page
    assert b"random-features" in storage(page).open(page).read()
    site = api.publish([results], f"{results}-site").published
    assert storage(site.folder).open(site.folder / "index.html").read().startswith(b"<!doctype html>")
    assert api.publish([results], f"{results}-site").published.files == site.files
    assert api.rerun(more.path, seeds="1").exit_status == 0
    assert not list(Path(tmp_path).iterdir())
    command = [sys.executable, "-m", "nlbench", "sweep", "--model", "mlp,chance", "--stream", "split-digits", "--seeds", "3"]
    subprocess.run([*command, "--results", results], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert {record.model: record.seeds for record in api.load(results)}["chance"] == (0, 1, 2)


def test_a_run_is_resumed_from_its_checkpoint_in_a_store(results):
    class StoppedError(Exception):
        pass

    def stop(row):
        if row.metric == "seconds.evaluate" and row.after_task == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        api.run("mlp", "split-digits", seeds=2, results=f"{results}-killed", listen=stop)
    assert list((place(f"{results}-killed") / ".checkpoints").glob("*.checkpoint"))
    whole = api.run("mlp", "split-digits", seeds=2, results=f"{results}-whole").record
    resumed = api.run("mlp", "split-digits", seeds=2, results=f"{results}-killed").record
    assert resumed.runs[0].resumes
    assert (resumed.accuracies == whole.accuracies).all()
    assert not list((place(f"{results}-killed") / ".checkpoints").glob("*.checkpoint"))
