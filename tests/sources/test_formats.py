"""Each format gives the rows, labels, tasks and test set that were written."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nlbench.errors import DataError
from nlbench.sources import formats
from nlbench.sources.formats import Opened
from nlbench.sources.user_files import opened
from nlbench.specs.reading import Reading

N = 9000  # more than two blocks
INPUTS = np.random.Generator(np.random.Philox(1)).standard_normal((N, 3)).astype(np.float32)
LABELS, TASKS = np.arange(N) % 4, np.arange(N) // 3000
PLAIN = Reading()


def rows(opened: Opened) -> np.ndarray:
    return np.concatenate(list(opened.blocks()))


def table(**more: object) -> pa.Table:
    columns = {f"x{i}": INPUTS[:, i] for i in range(3)}
    return pa.table({**columns, "label": LABELS, "task": TASKS, **more})


def held(opened: Opened, *, tasks: bool = True) -> None:
    assert np.allclose(rows(opened), INPUTS, atol=1e-6)
    assert opened.labels.tolist() == LABELS.tolist()
    assert opened.shape == (3,)
    assert (opened.tasks is not None) == tasks
    if tasks:
        assert np.asarray(opened.tasks).tolist() == TASKS.tolist()


def test_parquet_of_columns_and_of_lists(tmp_path: Path) -> None:
    split = np.where(np.arange(N) % 5 == 0, "test", "train")
    pq.write_table(table(split=split), tmp_path / "a.parquet", row_group_size=2000)
    opened = formats.parquet(tmp_path / "a.parquet", PLAIN)
    held(opened)
    assert opened.test is not None
    assert opened.test.tolist() == (split == "test").tolist()
    for number, kind in enumerate((pa.FixedSizeListArray.from_arrays(pa.array(INPUTS.ravel()), 3), pa.array(INPUTS.tolist()))):
        file = tmp_path / f"lists{number}.parquet"
        pq.write_table(pa.table({"features": kind, "y": LABELS}), file)
        held(formats.parquet(file, Reading(labels="y")), tasks=False)


def test_of_many_columns_a_few_are_open_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of each open column is unpacked, and that is often the whole column."""
    wide = np.random.Generator(np.random.Philox(2)).standard_normal((N, 75)).astype(np.float32)
    pairs = pa.FixedSizeListArray.from_arrays(pa.array(wide[:, 70:72].ravel()), 2)
    columns = {f"x{i}": pa.array(wide[:, i]) for i in range(75) if i not in (70, 71)}
    left = {name: columns.pop(name) for name in ("x72", "x73", "x74")}
    pq.write_table(pa.table({"label": LABELS, **columns, "pair": pairs, **left}), tmp_path / "a.parquet")
    seen, read = [], pq.ParquetFile.iter_batches

    def noted(file: pq.ParquetFile, size: int, columns: list[str]) -> object:
        seen.append(columns)
        return read(file, size, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    opened = formats.parquet(tmp_path / "a.parquet", PLAIN)
    assert opened.shape == (75,)
    assert [len(columns) for columns in seen] == [1, 32, 32, 10]
    for part, first, last in zip(opened.parts, (0, 32, 64), (32, 64, 75), strict=True):
        assert np.array_equal(np.concatenate(list(part())), wide[:, first:last])
    assert np.array_equal(rows(opened), wide)


def test_csv_and_lines_of_json(tmp_path: Path) -> None:
    lines = [",".join(table().schema.names), *(",".join(map(str, row.values())) for row in table().to_pylist())]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    held(formats.csv(tmp_path / "a.csv", PLAIN))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in table().to_pylist()) + "\n\n")
    held(formats.lines(tmp_path / "a.jsonl", PLAIN))


def test_texts_are_hashed_words_of_unit_length(tmp_path: Path) -> None:
    texts = ["a red fox", "a red fox", "two grey geese"]
    rows_of_text = [{"text": text, "label": word} for text, word in zip(texts, "xyx", strict=True)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows_of_text)))
    opened = formats.lines(tmp_path / "a.jsonl", Reading(features=64))
    found = rows(opened)
    assert (opened.kind, found.shape) == ("features", (3, 64))
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


@pytest.mark.parametrize("folder", [False, True])
def test_arrays_with_their_test_set_or_with_tasks(folder: bool, tmp_path: Path) -> None:
    images = (255 * np.random.Generator(np.random.Philox(2)).random((30, 4, 5, 3))).astype(np.uint8)
    parts = {"train_inputs": images[:20], "test_inputs": images[20:], "train_labels": np.arange(20), "test_labels": np.arange(10)}
    place = tmp_path / "a"
    if folder:
        place.mkdir()
        for name, array in parts.items():
            np.save(place / f"{name}.npy", array)
    else:
        place = tmp_path / "a.npz"
        np.savez(place, **parts)
    opened = formats.arrays(place, PLAIN)
    assert np.array_equal(rows(opened), images)
    assert opened.kind == "image"
    assert opened.test is not None
    assert opened.test.tolist() == [False] * 20 + [True] * 10
    np.savez(tmp_path / "b.npz", inputs=INPUTS, labels=LABELS, tasks=TASKS)
    held(formats.arrays(tmp_path / "b.npz", PLAIN))
    np.savez(tmp_path / "scalars.npz", inputs=np.float32(1), labels=LABELS)
    with pytest.raises(DataError, match=r"inputs must be \(n, …\) of one shape, got \(\)"):
        formats.arrays(tmp_path / "scalars.npz", PLAIN)
    np.savez(tmp_path / "c.npz", x=INPUTS)
    with pytest.raises(DataError, match=r"must hold train_inputs, .* got x"):
        formats.arrays(tmp_path / "c.npz", PLAIN)


def picture(value: int, size: tuple[int, int] = (6, 5)) -> Image.Image:
    return Image.fromarray(np.full((*size, 3), value, np.uint8))


def test_a_folder_of_images_a_class_with_its_test_set(tmp_path: Path) -> None:
    for part, values in (("train", (10, 20)), ("test", (30, 40))):
        for label, value in zip(("cat", "dog"), values, strict=True):
            (tmp_path / part / label).mkdir(parents=True)
            picture(value).save(tmp_path / part / label / "1.png")
    opened = formats.images(tmp_path, PLAIN)
    assert opened.labels.tolist() == ["cat", "dog", "cat", "dog"]
    assert opened.test is not None
    assert opened.test.tolist() == [False, False, True, True]
    assert rows(opened)[:, 0, 0, 0].tolist() == [10, 20, 30, 40]
    picture(50, (7, 7)).save(tmp_path / "test" / "cat" / "2.png")
    with pytest.raises(DataError, match=r"got \(6, 5, 3\), \(7, 7, 3\)\. Of images say \[stream\.read\] size"):
        rows(formats.images(tmp_path, PLAIN))
    assert rows(formats.images(tmp_path, Reading(size=4))).shape == (5, 4, 4, 3)


def in_classes(place: Path, images: list[Image.Image]) -> Path:
    """Lay images out as two classes, three samples of each at least."""
    for number, image in enumerate(images):
        (place / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        image.save(place / f"{number % 2}" / f"{number:04}.png")
    return place


def test_grey_images_among_coloured_ones_are_brought_to_what_is_said(tmp_path: Path) -> None:
    place = in_classes(tmp_path, [picture(10 * k) if k % 3 else picture(10 * k).convert("L") for k in range(10)])
    with pytest.raises(DataError, match=r"rows must have one shape.* say \[stream\.read\] channels = 1 or 3"):
        rows(formats.images(place, PLAIN))
    assert rows(formats.images(place, Reading(channels=1)))[:, 0, 0].tolist() == [*range(0, 100, 20), *range(10, 100, 20)]
    assert rows(formats.images(place, Reading(channels=3))).shape == (10, 6, 5, 3)


def test_images_of_sixteen_bits_keep_them(tmp_path: Path) -> None:
    values = [0, 100, 256, 1000, 40_000, 65_535]
    place = in_classes(tmp_path, [Image.fromarray(np.full((3, 3), value, np.uint16)) for value in values])
    assert rows(formats.images(place, PLAIN))[:, 1, 1].tolist() == values[::2] + values[1::2]
    assert rows(formats.images(place, Reading(channels=3, size=2)))[2, 1, 1].tolist() == [40_000] * 3
    picture(7, (3, 3)).convert("L").save(place / "0" / "9.png")
    with pytest.raises(DataError, match="must hold bytes, which are divided by 255, in all rows or in none"):
        rows(formats.images(place, PLAIN))


def test_images_of_numbers_must_be_finite(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.fromarray(np.array([[1, np.nan]], np.float32)).save(tmp_path / "a" / "1.tiff")
    with pytest.raises(DataError, match="images must be finite"):
        formats.images(tmp_path, PLAIN)


def test_a_data_set_of_hugging_face_saved_to_disk(tmp_path: Path) -> None:
    def encoded(value: int) -> bytes:
        content = BytesIO()
        picture(value).save(content, "png")
        return content.getvalue()

    for part, values in (("train", (1, 2, 3)), ("test", (4,))):
        (tmp_path / part).mkdir()
        held = pa.table({"image": [{"bytes": encoded(value), "path": None} for value in values], "label": list(values)})
        with (
            pa.OSFile(str(tmp_path / part / "data-00000-of-00001.arrow"), "wb") as file,
            pa.ipc.new_stream(file, held.schema) as out,
        ):
            out.write_table(held)
        (tmp_path / part / "state.json").write_text("{}")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    opened = formats.arrow(tmp_path, PLAIN)
    assert opened.labels.tolist() == [1, 2, 3, 4]
    assert opened.test is not None
    assert opened.test.tolist() == [False, False, False, True]
    assert rows(opened)[:, 0, 0, 0].tolist() == [1, 2, 3, 4]


def test_folders_of_arrow_files_that_are_called_otherwise_are_named(tmp_path: Path) -> None:
    held = pa.table({"x": [1.0, 2.0], "label": [0, 1]})
    (tmp_path / "tuning").mkdir()
    with pa.OSFile(str(tmp_path / "tuning" / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, held.schema) as out:
        out.write_table(held)
    rule = r"must lie in it, or in train and test \(or validation\), got tuning.*Name one of them, such as .*tuning\""
    with pytest.raises(DataError, match=rule):
        formats.arrow(tmp_path, PLAIN)


def test_images_in_a_column_of_another_name_are_met_in_few_words(tmp_path: Path) -> None:
    content = BytesIO()
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(content, "png")
    images = [{"bytes": content.getvalue(), "path": None}] * 2
    pq.write_table(pa.table({"img": images, "label": [0, 1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"column 'img' must be numbers.*--set stream\.read\.image=img") as raised:
        formats.parquet(tmp_path / "a.parquet", PLAIN)
    assert len(str(raised.value)) < 300 + len(str(tmp_path))
    assert rows(formats.parquet(tmp_path / "a.parquet", Reading(image="img"))).shape == (2, 10, 10, 3)


def test_lines_of_json_are_of_the_type_that_holds_all_of_a_column(tmp_path: Path) -> None:
    values: list[float] = [*range(1200), 0.5, 1.5, *range(98)]  # in the second block the first that is not whole
    named = [{"a": value, "b": [1, value], "label": number % 2} for number, value in enumerate(values)]
    (tmp_path / "a.jsonl").write_text("\ufeff" + "\n".join(map(json.dumps, named)), encoding="utf-8")
    opened = formats.lines(tmp_path / "a.jsonl", PLAIN)
    assert rows(opened)[:, [0, 2]].T.tolist() == [values, values]
    assert opened.ids == ()


def test_a_column_that_the_first_line_lacks_is_no_less_one(tmp_path: Path) -> None:
    named = [{"a": 1.0, "label": 0}, *({"a": 2.0, "b": 3.0, "label": 1} for _ in range(3))]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, named)))
    opened = formats.lines(tmp_path / "a.jsonl", PLAIN)
    assert opened.shape == (2,)
    assert opened.fault is not None
    assert "line 1: column 'b' has no number" in str(opened.fault(0, 1))
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({**row, "said": [row, "x"]}) for row in named))
    assert formats.lines(tmp_path / "b.jsonl", Reading(unused="said")).shape == (2,)


def test_a_table_with_commas_in_its_numbers_is_not_one_with_commas_between_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a;b;label\n1;2,5;0\n")
    with pytest.raises(DataError, match="columns must be separated by commas, got the one column 'a;b;label'"):
        formats.csv(tmp_path / "a.csv", PLAIN)


def test_what_is_no_number_and_what_has_no_label_is_named(tmp_path: Path) -> None:
    pq.write_table(table(word=["a"] * N), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, row 1: column 'word' must be numbers, or lists of one length, got 'a'"):
        formats.parquet(tmp_path / "a.parquet", PLAIN)
    for kind in (pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())):
        pq.write_table(pa.table({"label": LABELS, "figures": pa.array(["7"] * N).cast(kind)}), tmp_path / "b.parquet")
        with pytest.raises(DataError, match=r"b\.parquet, row 1: column 'figures' must be numbers"):
            formats.parquet(tmp_path / "b.parquet", PLAIN)
    with pytest.raises(DataError, match=r"has no column 'class', but x0, x1.*\[stream\.read\] labels"):
        formats.parquet(tmp_path / "a.parquet", Reading(labels="class"))
    (tmp_path / "a.jsonl").write_text('{"label": 1}\n{no')
    with pytest.raises(DataError, match="line 2: is not JSON"):
        formats.lines(tmp_path / "a.jsonl", PLAIN)


def test_a_table_of_numbers_is_read_without_pandas_and_no_column_that_is_unused(tmp_path: Path) -> None:
    pq.write_table(table(word=["a"] * N), tmp_path / "a.parquet")
    held(formats.parquet(tmp_path / "a.parquet", Reading(unused=("word",))))
    with pytest.raises(DataError, match=r"stream\.read\.unused: must be among its columns, x0, .*, got wrod"):
        formats.parquet(tmp_path / "a.parquet", Reading(unused=("wrod",)))
    said = "from nlbench.sources import formats; from nlbench.specs.reading import Reading; from pathlib import Path; import sys"
    code = f"{said}; list(formats.parquet(Path('a.parquet'), Reading(unused=('word',))).blocks()); print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_label_that_is_missing_and_an_image_whose_bytes_are_elsewhere_are_said(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"label": 1, "x": 2}\n[1]')
    with pytest.raises(DataError, match="line 2: must be an object of JSON, got list"):
        rows(formats.lines(tmp_path / "a.jsonl", PLAIN))
    (tmp_path / "b.jsonl").write_text('{"label": 1, "image": {"bytes": null, "path": "/etc/hosts"}}')
    with pytest.raises(DataError, match=r"line 1: column 'image' must hold the bytes of an image file.*Embed them"):
        formats.lines(tmp_path / "b.jsonl", PLAIN)
    (tmp_path / "c.csv").write_text("label,x\n")
    with pytest.raises(DataError, match="holds no rows"):
        formats.csv(tmp_path / "c.csv", PLAIN)


def test_what_an_npz_holds_is_kept_by_nobody(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", inputs=np.zeros((20_000, 100), np.float32), labels=np.arange(20_000) % 2)
    tracemalloc.start()
    opened = formats.arrays(tmp_path / "a.npz", PLAIN)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_000_000
    assert sum(map(len, opened.blocks())) == 20_000


def test_of_a_saved_data_set_the_files_of_its_state_are_read(tmp_path: Path) -> None:
    def write(name: str, columns: dict[str, Any]) -> None:
        made = pa.table(columns)
        with pa.OSFile(str(tmp_path / name), "wb") as file, pa.ipc.new_stream(file, made.schema) as stream:
            stream.write_table(made)

    write("data-00000-of-00001.arrow", {"x": [float(i) for i in range(20)], "label": [0, 1] * 10})
    write("cache-1234.arrow", {"x": [float(i) for i in range(30)], "label": [0, 1] * 15})
    assert len(opened(str(tmp_path), None).labels) == 20
    write("other.arrow", {"x": [float(i) for i in range(30)], "label": [0, 1] * 15})
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (tmp_path / "state.json").write_text(json.dumps(state))
    assert len(opened(str(tmp_path), None).labels) == 20
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "../data.arrow"}]}))
    with pytest.raises(DataError, match=r"state\.json: names '\.\./data\.arrow', which is not in this folder"):
        opened(str(tmp_path), None)
    (tmp_path / "state.json").write_text(json.dumps({**state, "_indices_files": [{"filename": "cache-1_indices.arrow"}]}))
    with pytest.raises(DataError, match="rows stand in another order") as caught:
        opened(str(tmp_path), None)
    assert "flatten_indices" in caught.value.hint


def test_what_the_first_block_of_a_csv_says_of_types_is_not_believed_of_the_others(tmp_path: Path) -> None:
    rows = 150_000
    path = tmp_path / "a.csv"
    lines = [f"{row},{row % 2}" for row in range(rows)]
    path.write_text("\n".join(["x,label", *lines, "0.5,1", "7,word", "8,word", "9,word"]))
    assert path.stat().st_size > 2**20
    source = opened(str(path), Reading(standardise="none"))
    assert source.label_names == ("0", "1", "word")
    assert 0.5 in source.read().train_inputs or 0.5 in source.read().test_inputs


def test_hidden_folders_hold_no_class_and_images_too_deep_are_refused(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png", "b/3.png", ".ipynb_checkpoints/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / name)
    assert opened(str(tmp_path), None).label_names == ("a", "b")
    (tmp_path / "a" / "deep").mkdir()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a" / "deep" / "1.png")
    with pytest.raises(DataError, match=r"deep/1\.png: must lie in the folder of its class"):
        opened(str(tmp_path), None)


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((40, 40), 7, np.uint8)).save(tmp_path / name)
    whole = (tmp_path / "b" / "2.png").read_bytes()
    (tmp_path / "b" / "2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"b/2\.png: cannot be read"):
        opened(str(tmp_path), None).read()


def test_lines_of_json_too_deep_to_be_read_are_no_json(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"x": ' + "[" * 100_000 + "]" * 100_000 + ', "label": 1}\n')
    with pytest.raises(DataError, match=r"a\.jsonl, line 1: is not JSON"):
        opened(str(tmp_path / "a.jsonl"), None)


def test_a_fault_behind_a_text_that_python_s_reader_gives_up_is_said_by_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f'"{"w " * 70_000}",{row % 2}\n' for row in range(4)) + '"x",\n')
    with pytest.raises(DataError, match=r"a\.csv, row 5: column 'label' is empty"):
        opened(str(tmp_path / "a.csv"), None)


def test_texts_that_look_like_numbers_are_texts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"{row},{row % 2}\n" for row in range(20)))
    assert opened(str(tmp_path / "a.csv"), None).kind == "features"


@pytest.mark.parametrize("state", ["[]", '{"_data_files": ["a.arrow"]}'])
def test_a_state_that_is_none_is_named(state: str, tmp_path: Path) -> None:
    made = pa.table({"x": [1.0], "label": [0]})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_stream(file, made.schema) as stream:
        stream.write_table(made)
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(DataError, match=r"state\.json: is not the state of a saved data set"):
        opened(str(tmp_path), None)
