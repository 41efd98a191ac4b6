"""What data files hold is read, standardised and told apart, whatever form they have."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from own_files import RNG, blobs, blobs_file
from PIL import Image

from nlbench import sources
from nlbench.errors import DataError, SpecError
from nlbench.plan import resolve
from nlbench.sources.user_files import opened
from nlbench.specs.reading import Reading
from nlbench.streams.building import build


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return blobs_file()


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


def test_bytes_are_not_mixed_with_other_numbers(tmp_path: Path) -> None:
    labels = np.arange(50) % 2
    for name, kind in (("a", np.uint8), ("b", np.float64)):
        np.savez(tmp_path / f"{name}.npz", inputs=RNG.integers(0, 256, (50, 4)).astype(kind), labels=labels)
    for train, test in (("a", "b"), ("b", "a")):
        with pytest.raises(DataError, match="must hold bytes, which are divided by 255, in all rows or in none"):
            opened(str(tmp_path / f"{train}.npz"), Reading(test=str(tmp_path / f"{test}.npz"))).read()


def test_the_images_of_a_later_block_are_like_those_of_the_first(tmp_path: Path) -> None:
    for number in range(1030):
        (tmp_path / f"{number % 2}").mkdir(exist_ok=True)
        Image.new("L" if number in (1027, 1029) else "RGB", (2, 2)).save(tmp_path / f"{number % 2}" / f"{number:04}.png")
    with pytest.raises(DataError, match=r"got \(2, 2\), \(2, 2, 3\).*channels = 1 or 3"):
        opened(str(tmp_path), None).read()


def test_a_test_file_of_its_own_and_labels_that_are_words(tmp_path: Path) -> None:
    for name, rows in (("train", ["1,2,ant", "3,4,bee", "5,7,ant"]), ("test", ["9,9,bee"])):
        (tmp_path / f"{name}.csv").write_text("\n".join(["a,b,animal", *rows]))
    reading = Reading(labels="animal", test=str(tmp_path / "test.csv"), standardise="none")
    arrays = opened(str(tmp_path / "train.csv"), reading).read()
    assert arrays.train_labels.tolist() == [0, 1, 0]
    assert arrays.test_labels.tolist() == [1]
    assert arrays.test_inputs.tolist() == [[9, 9]]


def table(path: Path, columns: dict[str, list[Any]]) -> str:
    """Write a file of these columns by its name's end, and return its name."""
    if path.suffix == ".csv":
        rows = zip(*columns.values(), strict=True)
        path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]))
    elif path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


@pytest.mark.parametrize("end", ["csv", "parquet", "jsonl"])
def test_columns_of_a_test_file_are_found_by_their_names(end: str, tmp_path: Path) -> None:
    train = table(tmp_path / f"train.{end}", {"a": [1, 2], "b": [30, 40], "label": [0, 1]})
    test = table(tmp_path / f"test.{end}", {"label": [1], "b": [50], "a": [6]})
    assert opened(train, Reading(test=test, standardise="none")).read().test_inputs.tolist() == [[6, 50]]
    other = table(tmp_path / f"other.{end}", {"label": [1], "c": [50], "a": [6]})
    with pytest.raises(
        DataError, match=rf"other\.{end}: must have the columns of .*: it lacks 'b' and it also has 'c'"
    ) as caught:
        opened(train, Reading(test=other))
    assert "unused" in caught.value.hint
    more = table(tmp_path / f"more.{end}", {"label": [1], "b": [50], "id": [7], "a": [6]})
    assert opened(train, Reading(test=more, unused=("id",), standardise="none")).read().test_inputs.tolist() == [[6, 50]]


def test_a_training_file_that_changes_is_another_though_the_test_file_has_its_name(tmp_path: Path) -> None:
    inputs, labels = blobs()
    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "data.npz", inputs=inputs, labels=labels)
    reading = Reading(test=str(tmp_path / "test" / "data.npz"))
    before = opened(str(tmp_path / "train" / "data.npz"), reading)
    assert list(before.files) == ["data.npz", "test/data.npz"]
    assert list(before.locate().values()) == list(before.paths)
    np.savez(tmp_path / "train" / "data.npz", inputs=inputs, labels=labels[::-1])
    after = opened(str(tmp_path / "train" / "data.npz"), reading)
    assert [before.files[name] == after.files[name] for name in before.files] == [False, True]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[1.0, 2], [3, 4, 5], [6, 7], [8]], "row 2: column 'x' must be numbers, or lists of one length, got .* of 3"),
        ([[1.0, 2], None, [3, 4, 5, 6], [1, 2]], "row 2: column 'x' must be .* got nothing"),
        ([None, [1.0, 2], [1, 2], [1, 2]], "row 1: column 'x' must be .* got nothing"),
        ([[[1.0, 2], [3]], [[1], [2, 3]], [[1, 2], [3]], [[1, 2], [3]]], "column 'x' must be numbers, or lists of one length"),
    ],
)
def test_lists_of_several_lengths_are_never_dealt_out_over_rows(rows: list[Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        opened(table(tmp_path / "a.parquet", {"x": rows, "label": [0, 1, 0, 1]}), None)


def test_a_second_file_and_a_split_contradict_each_other(tmp_path: Path) -> None:
    rows = {"x": [1, 2, 3, 4], "label": [0, 1, 0, 1]}
    both = table(tmp_path / "both.csv", {**rows, "split": ["train", "train", "train", "test"]})
    train, test = (table(tmp_path / f"{name}.csv", {**rows, "split": [name] * 4}) for name in ("train", "test"))
    assert len(opened(train, Reading(test=test)).read().test_inputs) == 4
    with pytest.raises(DataError, match=r"both\.csv: says that rows are of the test set"):
        opened(both, Reading(test=test))
    with pytest.raises(DataError, match=r"train\.csv: says that rows are of the training set"):
        opened(train, Reading(test=train))


@pytest.mark.parametrize("how", ["each", "all"])
@pytest.mark.parametrize("end", ["npz", "csv", "parquet"])
def test_numbers_far_from_0_are_told_apart_before_they_are_standardised(end: str, how: str, tmp_path: Path) -> None:
    near, labels = np.rint(100 * RNG.standard_normal((400, 3))), np.arange(400) % 2
    far = near + 1.7e9
    path = tmp_path / f"a.{end}"
    if end == "npz":
        np.savez(path, inputs=far, labels=labels)
    else:
        table(path, {**{f"x{i}": far[:, i].tolist() for i in range(3)}, "label": labels.tolist()})
    arrays = opened(str(path), Reading(standardise=how)).read()
    own = ~opened(str(path), None).test
    axes = None if how == "all" else 0
    expected = (near[own] - near[own].mean(axes)) / near[own].std(axes)
    np.testing.assert_allclose(arrays.train_inputs, expected, atol=2e-6)


def test_a_test_file_is_shifted_as_the_training_file_in_whatever_parts_both_are_read(tmp_path: Path) -> None:
    near, labels = RNG.standard_normal((60, 40)), [0, 1] * 30
    columns = {f"x{i}": (near[:, i] + 1.7e9).tolist() for i in range(40)}
    train = table(tmp_path / "train.parquet", {**columns, "label": labels})
    expected = (near - near.mean(0)) / near.std(0)
    for name, held in (("a.csv", columns), ("b.parquet", {"x": (near + 1.7e9).tolist()})):
        test = table(tmp_path / name, {**held, "label": labels})
        for path, other in ((train, test), (test, train)):
            arrays = opened(path, Reading(test=other)).read()
            np.testing.assert_allclose(arrays.train_inputs, expected, atol=1e-5)
            np.testing.assert_allclose(arrays.test_inputs, expected, atol=1e-5)


def test_labels_of_two_types_are_not_brought_to_one_that_merges_them(tmp_path: Path) -> None:
    labels = 2**53 + np.arange(30) % 6
    np.savez(
        tmp_path / "a.npz",
        train_inputs=np.eye(30), train_labels=labels.astype(np.uint64), test_inputs=np.eye(30), test_labels=labels,
    )  # fmt: skip
    assert opened(str(tmp_path / "a.npz"), None).n_classes == 6
    ids = [10**22 + row % 3 for row in range(30)]
    with pytest.raises(DataError, match=r"a\.csv, line 2: column 'label' must be a whole number of at most 2\^53 or a word"):
        opened(table(tmp_path / "a.csv", {"x": list(range(30)), "label": ids}), None)
    words = table(tmp_path / "words.csv", {"x": [1.5, 2.5], "label": ["a", "b"]})
    numbers = table(tmp_path / "numbers.csv", {"x": [1.5, 2.5], "label": [1, 2]})
    with pytest.raises(DataError, match="labels must be all words or all whole numbers, got 'a' and 1"):
        opened(words, Reading(test=numbers))


@pytest.mark.parametrize(
    ("shape", "layout", "expected"),
    [
        ((20, 12, 1), None, (1, 20, 12)),
        ((12, 12, 4), None, (4, 12, 12)),
        ((12, 9, 3), None, (3, 12, 9)),
        ((1, 12, 3), None, (1, 12, 3)),
        ((3, 12, 3), "NHWC", (3, 3, 12)),
        ((12, 12, 1), "NCHW", (12, 12, 1)),
    ],
)
def test_channels_are_last_where_that_axis_alone_may_be_theirs(shape: Any, layout: Any, expected: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", inputs=RNG.standard_normal((20, *shape)).astype(np.float32), labels=np.arange(20) % 2)
    source = opened(str(tmp_path / "a.npz"), Reading(layout=layout) if layout else None)
    assert source.input_shape == source.read().train_inputs.shape[1:] == expected


@pytest.mark.parametrize(
    ("name", "said", "rule"),
    [
        ("a.jsonl", {"split": "prt"}, r"stream\.read\.split: must be among its columns, text, n, label, part, got prt"),
        ("a.jsonl", {"unused": ("n", "m")}, r"stream\.read\.unused: must be among its columns, .*, got m"),
        ("a.jsonl", {"size": 8}, r"stream\.read\.size: is for images"),
        ("a.npz", {"split": "part"}, r"stream\.read\.split: is not for files of this kind"),
        ("a.npz", {"size": 8}, r"stream\.read\.size: is not for files of this kind"),
    ],
)
def test_what_is_said_of_a_file_and_means_nothing_there_is_refused(name: str, said: Any, rule: str, tmp_path: Path) -> None:
    words = ["a b", "c d"] * 10
    table(tmp_path / "a.jsonl", {"text": words, "n": [1, 2] * 10, "label": words, "part": ["train", "train", "test", "test"] * 5})
    np.savez(tmp_path / "a.npz", inputs=np.eye(20), labels=np.arange(20) % 2)
    with pytest.raises(DataError, match=rule):
        opened(str(tmp_path / name), Reading(**said))
    assert opened(str(tmp_path / "a.jsonl"), Reading(split="part")).test.sum() == 10


def test_columns_that_are_not_shown_and_classes_that_nobody_trains_are_remarked(tmp_path: Path) -> None:
    rows = {"text": ["a", "b", "c"], "n": [1, 2, 3], "label": ["x", "y", "z"], "split": ["train", "train", "test"]}
    remarks = opened(table(tmp_path / "a.jsonl", rows), None).remarks
    assert [remark.partition(": ")[2] for remark in remarks] == [
        "beside 'text' these are not shown to the learner: 'n'.",
        "only test rows are labelled z: nobody can have those right.",
    ]


def test_what_is_black_is_known_of_a_file_that_says_its_tasks(tmp_path: Path) -> None:
    images, labels = RNG.integers(0, 255, (40, 8, 8)).astype(np.float32), np.arange(40) % 4
    np.savez(tmp_path / "a.npz", inputs=images, labels=labels, tasks=labels // 2)
    plan = resolve("chance", str(tmp_path / "a.npz"), seeds=(0,))
    stream = build(plan.declared, (0,), torch.device("cpu"))
    own = images[~plan.declared.source.test]
    assert float(stream.black) == pytest.approx(-own.mean() / own.std(), rel=1e-4)


def test_what_cannot_be_a_stream_is_refused_by_name(file: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file"):
        opened("./none.npz", None)
    with pytest.raises(SpecError, match=r"with --set stream\.tasks=N, not stream\.taks$"):
        resolve("mlp", file, seeds=(0,), overrides={"stream.taks": "2", "batch": "8"})
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


def test_a_file_of_many_columns_is_read_as_one_of_a_list(tmp_path: Path) -> None:
    """Part by part, each row to where the training or the test set has it; two files of unequal columns beside each other too."""
    n, width = 5000, 70
    wide, labels = RNG.standard_normal((n, width)).astype(np.float32), np.arange(n) % 3
    lists = pa.FixedSizeListArray.from_arrays(pa.array(wide.ravel()), width)
    columns = {f"x{i}": wide[:, i] for i in range(width)}
    pq.write_table(pa.table({"label": labels, **columns}), tmp_path / "columns.parquet")
    pq.write_table(pa.table({"label": labels, "x": lists}), tmp_path / "lists.parquet")
    for reading in ({}, {"standardise": "none"}, {"test": str(tmp_path / "lists.parquet")}):
        found = [opened(str(tmp_path / f"{name}.parquet"), Reading(**reading)).read() for name in ("columns", "lists")]
        for name in ("train_inputs", "train_labels", "test_inputs", "test_labels"):
            assert np.array_equal(*(getattr(each, name) for each in found))
    plain = opened(str(tmp_path / "columns.parquet"), Reading(standardise="none")).read()
    assert {row.tobytes() for row in (*plain.train_inputs, *plain.test_inputs)} == {row.tobytes() for row in wide}
    columns["x50"] = np.where(np.arange(n) == 3210, np.nan, wide[:, 50])
    pq.write_table(pa.table({"label": labels, **columns}), tmp_path / "missing.parquet")
    with pytest.raises(DataError, match=r"missing\.parquet, row 3211: column 'x50' has no number\. Fill"):
        opened(str(tmp_path / "missing.parquet"), None).read()


def test_a_source_goes_to_another_process_which_sees_that_its_file_has_changed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,label\n" + "".join(f"{i},{i % 2}\n" for i in range(20)))
    source = opened(str(tmp_path / "a.csv"), Reading(standardise="none"))
    sent = pickle.dumps(source)
    again = pickle.loads(sent)
    assert (again.checksum, again.title, again.reading) == (source.checksum, source.title, source.reading)
    assert np.array_equal(again.read().train_inputs, source.read().train_inputs)
    (tmp_path / "a.csv").write_text("x,label\n" + "".join(f"{i},{i % 2}\n" for i in range(30)))
    with pytest.raises(DataError, match="has changed since the run was planned"):
        pickle.loads(sent).read()


Y = np.arange(60) % 3


@pytest.mark.parametrize(
    "labels",
    [Y - 1, Y * 2**60, Y * 1e30, np.array(["ä", "漢字", "c d"])[Y], Y.astype(np.uint8), Y > 0],
    ids=lambda each: str(each.dtype),
)
def test_labels_may_be_any_words_or_whole_numbers(labels: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", inputs=np.ones((60, 2)), labels=labels)
    source = opened(str(tmp_path / "a.npz"), None)
    assert source.n_classes == len(np.unique(labels))
    assert np.array_equal(np.unique(labels)[source.labels], labels)


@pytest.mark.parametrize("shape", [(2,), (1, 4, 4), (3, 4, 4)])
@pytest.mark.parametrize("how", ["each", "all", "none"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_what_a_file_holds_comes_back_raw(shape: tuple[int, ...], how: str, dtype: type, tmp_path: Path) -> None:
    held = (np.random.default_rng(0).random((40, *shape)) * 200 + 5).astype(dtype)
    np.savez(
        tmp_path / "f.npz", train_inputs=held, train_labels=np.arange(40) % 2, test_inputs=held, test_labels=np.arange(40) % 2
    )
    source = opened(str(tmp_path / "f.npz"), Reading(standardise=how))
    for raw in source.read().raw():
        assert np.allclose(raw, held / 255 if dtype == np.uint8 else held, rtol=1e-5)


@pytest.mark.parametrize("dtypes", [(np.float64, np.float32), (np.float32, np.float64), (np.int64, np.float32)])
def test_test_rows_of_another_type_of_number_are_standardised_alike(dtypes: tuple[type, type], tmp_path: Path) -> None:
    held, labels = 100.0 + np.arange(120).reshape(40, 3), np.arange(40) % 2
    train, test = (held.astype(dtype) for dtype in dtypes)
    np.savez(tmp_path / "f.npz", train_inputs=train, train_labels=labels, test_inputs=test, test_labels=labels)
    arrays = opened(str(tmp_path / "f.npz"), Reading()).read()
    assert np.allclose(arrays.train_inputs, arrays.test_inputs, atol=1e-5)
