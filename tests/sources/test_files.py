"""Files of one's own are streams like any other: run, tuned, gated, reported, run again."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from small_streams import small_tasks

import nlbench
from nlbench import sources
from nlbench.api import tune, update_references
from nlbench.errors import DataError, SpecError
from nlbench.plan import resolve
from nlbench.records.footer import Environment
from nlbench.reporting.rerun import rerun
from nlbench.sources.files import opened
from nlbench.specs.reading import Reading

RNG = np.random.Generator(np.random.Philox(3))


def blobs(n: int = 240, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    labels = np.arange(n) % classes
    return (3 * np.eye(classes, 6)[labels] + RNG.standard_normal((n, 6))).astype(np.float32), labels


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file of four classes in the present folder."""
    inputs, labels = blobs()
    np.savez(tmp_path / "blobs.npz", inputs=inputs, labels=labels)
    monkeypatch.chdir(tmp_path)
    return "./blobs.npz"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *((name, True) for name in ("./a.npz", "a.parquet", "/x/images", "a.csv", "./a/b.jsonl")),
        *((name, False) for name in ("digits", "./a.py:f", "package.module:NAME", "split-digits", "./mine.toml")),
    ],
)
def test_what_is_a_data_file_is_told_by_its_name(name: str, data: bool) -> None:
    assert sources.is_data(name) == data


def test_a_file_is_standardised_by_its_training_set_and_a_fifth_of_each_class_is_the_test_set(file: str) -> None:
    source = opened(file, None)
    arrays = source.read()
    assert np.bincount(arrays.test_labels).tolist() == [12] * 4
    assert np.allclose(arrays.train_inputs.mean(0), 0, atol=1e-5)
    assert np.allclose(arrays.train_inputs.std(0), 1, atol=1e-4)
    raw = opened(file, Reading(standardise="none")).read()
    expected = (raw.test_inputs - raw.train_inputs.mean(0)) / raw.train_inputs.std(0)
    assert np.allclose(arrays.test_inputs, expected, atol=1e-5)
    alike = opened(file, Reading(standardise="all")).read()
    assert abs(alike.train_inputs.std() - 1) < 1e-4
    assert np.ptp(alike.train_inputs.std(0)) > 0.1


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_images_of_bytes_are_brought_to_channels_first_and_standardised(layout: str, tmp_path: Path) -> None:
    images = RNG.integers(0, 256, (50, 3, 8, 9), dtype=np.uint8)
    laid = images if layout == "NCHW" else np.moveaxis(images, 1, -1)
    np.savez(tmp_path / "a.npz", inputs=laid, labels=np.arange(50) % 2)
    source = opened(str(tmp_path / "a.npz"), Reading(layout=layout))
    assert (source.input_shape, source.kind) == ((3, 8, 9), "image")
    arrays = source.read()
    raw = images[~source.test] / 255.0
    assert np.allclose(arrays.train_inputs, (raw - raw.mean()) / raw.std(), atol=1e-4)


def test_a_folder_of_arrays_that_nothing_is_done_to_stays_on_the_disk(tmp_path: Path) -> None:
    inputs, labels = blobs()
    for name, array in (
        ("train_inputs", inputs),
        ("test_inputs", inputs[:40] + 1),
        ("train_labels", labels),
        ("test_labels", labels[:40]),
    ):
        np.save(tmp_path / f"{name}.npy", array)
    arrays = opened(str(tmp_path), Reading(standardise="none")).read()
    assert isinstance(arrays.train_inputs, np.memmap)
    assert np.array_equal(arrays.train_inputs, inputs)


def test_a_test_file_of_its_own_and_labels_that_are_words(tmp_path: Path) -> None:
    for name, rows in (("train", ["1,2,ant", "3,4,bee", "5,7,ant"]), ("test", ["9,9,bee"])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,animal", *rows]))
    reading = Reading(labels="animal", test=str(tmp_path / "test.csv"), standardise="none")
    arrays = opened(str(tmp_path / "train.csv"), reading).read()
    assert arrays.train_labels.tolist() == [0, 1, 0]
    assert arrays.test_labels.tolist() == [1]
    assert arrays.test_inputs.tolist() == [[9, 9]]


def test_what_cannot_be_a_stream_is_refused_by_name(file: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        opened("./none.npz", None)
    with pytest.raises(SpecError, match=r"says no tasks: deal out its 4 classes with --set stream\.tasks=N"):
        resolve("mlp", file, seeds=(0,))
    np.savez("nan.npz", inputs=np.full((20, 2), np.nan), labels=np.arange(20) % 2)
    with pytest.raises(DataError, match="must be finite"):
        opened("./nan.npz", None).read()
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"must be a file \.npz, \.parquet"):
        opened("./a.txt", None)
    with pytest.raises(DataError, match="is no file, so that"):
        sources.find("digits", Reading())


def test_a_file_that_changes_after_the_plan_is_not_read_as_it_was(file: str) -> None:
    source = opened(file, None)
    np.savez(file, inputs=np.zeros((20, 6)), labels=np.arange(20) % 4)
    with pytest.raises(DataError, match="has changed since the run was planned"):
        source.read()
    assert opened(file, None).checksum != source.checksum


def test_where_a_file_lies_is_no_part_of_what_a_stream_is(file: str, tmp_path: Path) -> None:
    here = resolve("mlp", file, seeds=(0,), overrides={"stream.tasks": "2"})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "blobs.npz").write_bytes(Path(file).read_bytes())
    there = resolve("mlp", "./other/blobs.npz", seeds=(0,), overrides={"stream.tasks": "2"})
    assert here.fingerprint == there.fingerprint
    np.savez("blobs.npz", inputs=blobs()[0] + 1, labels=blobs()[1])
    assert resolve("mlp", file, seeds=(0,), overrides={"stream.tasks": "2"}).declared.digest != here.declared.digest


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
    opened_again = opened("./mine.npz", Reading(standardise="none")).given()
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
