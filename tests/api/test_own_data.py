"""Data of one's own is run, tuned, gated, reported and run again."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from own_files import blobs, blobs_file
from small_streams import small_tasks

import nlbench
from nlbench import sources
from nlbench.api import tune, update_references
from nlbench.errors import DataError, SpecError, UnknownNameError
from nlbench.plan import resolve
from nlbench.records.footer import Environment
from nlbench.reporting.rerun import rerun
from nlbench.sources.user_files import opened
from nlbench.specs.reading import Reading


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return blobs_file()


MINE = """title = "Blobs of a file of my own"
[stream]
kind = "{kind}"
source = "./mine.npz"
tasks = 3
scenario = "class-il"
[protocol]
batch = 8
[check]
average_accuracy = 0.05
min_seeds = 2
"""


def test_tasks_of_a_file_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tasks = small_tasks(3)
    parts = {
        name: np.concatenate([task[i] for task in tasks])
        for i, name in enumerate(("train_inputs", "train_labels", "test_inputs", "test_labels"))
    }
    numbers = {name: np.repeat(np.arange(3), n) for name, n in (("train_tasks", 40), ("test_tasks", 20))}
    np.savez("mine.npz", **parts, **numbers)
    Path("mine.toml").write_text(MINE.format(kind="arrays"))
    declared = nlbench.run("mlp", "./mine.toml", seeds=2)
    named = nlbench.run("mlp", "./mine.npz", seeds=2, overrides={"protocol.batch": "8"})
    assert declared.metric("average_accuracy") == named.metric("average_accuracy")
    plain = nlbench.stream_from_arrays("plain", tasks, batch=8)
    opened_again = opened("./mine.npz", Reading(standardise="none")).in_memory()
    assert all(
        np.array_equal(a, b) for mine, its in zip(opened_again.tasks, tasks, strict=True) for a, b in zip(mine, its, strict=True)
    )
    assert plain.spec.stream.tasks == 3
    Path("mine.toml").write_text(MINE.format(kind="arrays").replace("tasks = 3", "tasks = 2"))
    with pytest.raises(SpecError, match=r"stream\.tasks: must be the 3 of \./mine\.npz, got 2"):
        resolve("mlp", "./mine.toml", seeds=(0,))


FUNCTION = """
import numpy as np

def tasks():
    labels = np.arange(80) % 2
    inputs = np.float32(labels[:, None] + np.linspace(0, 1, 80)[:, None] * np.ones(5))
    return [(inputs, labels, inputs + 0.01, labels), (inputs, labels + 2, inputs - 0.01, labels + 2)]
"""


def test_a_function_in_a_file_gives_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.py").write_text(FUNCTION)
    Path("mine.toml").write_text(
        MINE.format(kind="arrays").replace("./mine.npz", "./data.py:tasks").replace("tasks = 3", "tasks = 2")
    )
    found = nlbench.run("mlp", "./mine.toml", seeds=1)
    assert found.record.n_tasks == 2
    checksum = sources.find("./data.py:tasks").checksum
    Path("data.py").write_text(f"{FUNCTION}\ndef each():\n    yield from tasks()\n")
    assert sources.find("./data.py:each").checksum == checksum


def test_a_file_is_run_tuned_gated_reported_and_run_again(file: str, tmp_path: Path) -> None:
    Path("mine.toml").write_text(MINE.format(kind="split").replace("mine.npz", "blobs.npz").replace("tasks = 3", "tasks = 2"))
    found = nlbench.run("mlp", "./mine.toml", seeds=2, results=tmp_path / "results")
    assert found.metric("average_accuracy")[0] > 0.3
    search = tune("mlp", "./mine.toml", {"learner.rate": ["0.01", "0.1"]}, tasks=2)
    assert {trial.score is not None for trial in search.trials} == {True}
    for options in ({}, {"learner.rate": "0.03", "protocol.passes": "2"}):
        record = nlbench.run("mlp", "./mine.toml", seeds=2, overrides=options).record
        again = rerun(record)
        assert (
            again.remark == "Same fingerprint with this version: the same numbers, to rounding. It runs where ./mine.toml lies."
        )
        named = nlbench.run("mlp", file, seeds=2, overrides={"stream.tasks": "2", "stream.noise.share": "0.1", **options}).record
        assert rerun(named).remark.startswith("Same fingerprint")
        line = shlex.split(rerun(named).command)
        assert line[:8] == ["nlbench", "run", "--model", "mlp", "--stream", "./blobs.npz", "--seeds", "2"]
        given = dict(word.split("=", 1) for word, before in zip(line[1:], line, strict=False) if before == "--set")
        assert resolve("mlp", line[5], seeds=(0, 1), overrides=given).fingerprint == named.fingerprint


def test_a_stream_of_a_file_or_of_arrays_is_gated(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "clean", True)
    Path("mine.toml").write_text(MINE.format(kind="split").replace("mine.npz", "blobs.npz").replace("tasks = 3", "tasks = 2"))
    arrays = nlbench.stream_from_arrays("plain", small_tasks(2), batch=4, check={"average_accuracy": 0.05, "min_seeds": 2})
    for stream in ("./mine.toml", arrays):
        record = nlbench.run("mlp", stream, seeds=4, overrides={"stream.scenario": "task-il"}).record
        (update,) = update_references([record.path], tmp_path / "reference")
        assert update.written
        assert nlbench.check(record, against=tmp_path / "reference").findings[0].verdict == "ok"
    search = tune("mlp", arrays, {"learner.rate": ["0.01", "0.1"]}, tasks=2)
    assert len(search.trials) == 2


def test_a_folder_is_named_on_the_command_line_gated_and_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Environment, "clean", True)
    monkeypatch.chdir(tmp_path)
    inputs, labels = blobs()
    Path("mine").mkdir()
    for name, values in (("inputs", inputs), ("labels", labels)):
        np.save(f"mine/{name}.npy", values)
    margins = {"check.average_accuracy": "0.05", "check.min_seeds": "2"}
    record = nlbench.run("mlp", "./mine", seeds=4, overrides={"stream.tasks": "2", "stream.noise.share": "0.1", **margins}).record
    (update,) = update_references([record.path], tmp_path / "reference")
    assert update.written
    assert nlbench.check(record, against=tmp_path / "reference").findings[0].verdict == "ok"
    assert rerun(record).remark == "Same fingerprint with this version: the same numbers, to rounding. It runs where ./mine lies."
    again = rerun(record, stream="./mine")
    assert again.plan is not None
    assert again.plan.fingerprint == record.fingerprint


def test_a_function_and_what_a_column_is_not_are_named_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = "(numpy.arange(40.0).reshape(20, 2), numpy.arange(20) % 2) * 2"
    Path("mine.py").write_text(f"import numpy\ndef turns():\n    return [{made}, {made}]\n")
    options = {"seeds": 2, "results": tmp_path, "device": "cpu"}
    record = nlbench.run("mlp", "./mine.py:turns", scenario="domain-il", **options).record
    assert (record.stream, record.n_tasks) == ("turns", 2)
    command = rerun(record).command
    assert command.startswith("nlbench run --model mlp --stream ./mine.py:turns --seeds 2 --set stream.scenario=domain-il")
    Path("a.csv").write_text("id,x,label\n" + "".join(f"n{i},{i},{i % 2}\n" for i in range(20)))
    with pytest.raises(DataError, match=r"column 'id' must be numbers.*--set stream\.read\.unused=id"):
        nlbench.resolve("mlp", "./a.csv", seeds=1, overrides={"stream.tasks": "2"})
    plan = nlbench.resolve("mlp", "./a.csv", seeds=1, overrides={"stream.tasks": "2", "stream.read.unused": "id"})
    assert plan.declared.source is not None
    assert plan.declared.source.input_shape == (1,)
    assert plan.stream.identity()["stream"]["read"] == {"unused": ["id"]}
    Path("pics").mkdir()
    with pytest.raises(UnknownNameError, match=r"What lies here is named \./pics"):
        nlbench.resolve("mlp", "pics", seeds=1)
