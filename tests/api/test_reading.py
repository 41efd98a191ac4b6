"""What is read from records from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gated_records import OLD, record
from small_streams import small_tasks

import nlbench
from nlbench import api
from nlbench.errors import NlbenchError, RecordError


def test_a_run_answers_with_its_record_and_compares_with_another(tmp_path: Path) -> None:
    heard: list[Any] = []
    mlp = nlbench.run("mlp", "split-digits", seeds=3, results=tmp_path, listen=heard.append)
    joint = nlbench.run("joint-one-pass", "split-digits", seeds=3, results=tmp_path)
    assert {row.metric for row in heard} >= {"accuracy", "accuracy_within", "chance", "seconds.train"}
    frame = mlp.to_pandas()
    assert set(frame.columns) >= {"model", "stream", "seed", "after_task", "on_task", "metric", "value"}
    assert frame[frame.metric == "average_accuracy"].set_index("seed").value.to_dict() == mlp.metric("average_accuracy")
    assert [record.path for record in nlbench.load(tmp_path)] == sorted([mlp.path, joint.path])
    compared = nlbench.compare([mlp.record, joint.path], baseline="mlp")
    assert len(compared.groups) == 1
    assert nlbench.compare([mlp, joint], baseline="mlp").to_json() == compared.to_json()
    assert nlbench.compare(str(tmp_path)).to_json() == nlbench.compare([tmp_path]).to_json()
    assert len(nlbench.compare(mlp).groups[0].entries) == 1
    assert len(api.validate(mlp.path)) == 1
    assert {entry.label for entry in compared.groups[0].entries} == {"mlp", "joint-one-pass"}
    mean = {model.record.model: sum(model.metric("average_accuracy").values()) / 3 for model in (mlp, joint)}
    assert mean["joint-one-pass"] > mean["mlp"] + 0.5
    assert len(compared.to_pandas()) > 0


def test_what_is_shown_in_a_session_is_short_and_says_what_it_is(tmp_path: Path) -> None:
    run = nlbench.run("chance", "split-digits", seeds=1, results=tmp_path)
    assert repr(run.record) == f"<nlbench record: chance on split-digits, 1 seed: {run.path}>"
    compared = nlbench.compare(run)
    assert repr(compared) == "<nlbench comparison of learners: 1 on split-digits>"
    assert compared._repr_markdown_() == compared.to_markdown()
    first, header, row, *_ = str(compared).splitlines()
    assert first.startswith("split-digits · class-il · 5 tasks")
    assert (header.split()[0], row.split()[0]) == ("learner", "chance")


def test_a_report_shows_a_stream_of_python_where_it_is_given_itself_and_its_name_says_so(tmp_path: Path) -> None:
    stream = nlbench.stream_from_arrays("mine", small_tasks(2), batch=8)
    run = nlbench.run("mlp", stream, seeds=1, results=tmp_path, device="cpu")
    for name in ("mine", "split-digits"):
        rule = r"^stream mine: was given in Python, .*nlbench\.api\.report" if name == "mine" else "no record is on split-digits"
        with pytest.raises(NlbenchError, match=rule):
            api.report(run, tmp_path / "page.html", streams=[name])
    assert api.report(run, tmp_path / "page.html", streams=[stream]).page.exists()


def test_loading_what_is_no_record_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no record found"):
        nlbench.load(tmp_path)


def test_what_names_no_record_is_never_judged_to_be_well(tmp_path: Path) -> None:
    for judge in (api.check_all, api.update_references):
        for path, rule in ((tmp_path, "holds no record"), (tmp_path / "x*.parquet", "matches nothing")):
            with pytest.raises(RecordError, match=rule):
                judge([path])


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


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_where_one_record_may_be_no_reference_none_is_written(tmp_path: Path, order: tuple[int, int]) -> None:
    good, few = record(tmp_path / "a.parquet", OLD), record(tmp_path / "b.parquet", OLD[:2], model="other", fingerprint="other")
    paths = [(good.path, few.path)[index] for index in order]
    with pytest.raises(RecordError, match=r"(?s)b\.parquet cannot become a reference.*No reference was written"):
        api.update_references(paths, tmp_path / "reference")
    assert not (tmp_path / "reference").exists()
