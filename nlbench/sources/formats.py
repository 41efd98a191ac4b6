"""Formats of data files: what each row is labelled, at once, and the rows themselves, block by block, in the same order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nlbench.errors import DataError
from nlbench.specs.reading import Reading

BLOCK: Final = 4096
"""Rows read at once."""

Values = NDArray[Any]


@dataclass(frozen=True)
class Opened:
    """A data file that has been looked at.

    labels  (N,) as they stand in the file
    tasks   (N,) numbers of tasks, or None
    test    (N,) bool: which rows are the test set, or None where the file does not say
    shape   of one row
    blocks  yields the rows (m, *shape) in order; numbers of 8 bits are 0 to 255
    """

    labels: Values
    tasks: Values | None
    test: NDArray[np.bool_] | None
    shape: tuple[int, ...]
    kind: Literal["image", "vector", "features"]
    blocks: Callable[[], Iterator[Values]]


def arrays(path: Path, reading: Reading) -> Opened:
    """.npz of `train_inputs`, `train_labels`, `test_inputs`, `test_labels`, perhaps `train_tasks`, `test_tasks`; or of `inputs`,
    `labels`, perhaps `tasks` and `test`. A folder of .npy files of these names is the same, and is mapped, not loaded.
    """
    held = (
        {file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in sorted(path.glob("*.npy"))}
        if path.is_dir()
        else np.load(path, allow_pickle=False)
    )
    names = set(held.keys() if isinstance(held, dict) else held.files)
    if {"train_inputs", "train_labels", "test_inputs", "test_labels"} <= names:
        inputs = [held["train_inputs"], held["test_inputs"]]
        labels = np.concatenate([held["train_labels"], held["test_labels"]])
        tasks = np.concatenate([held["train_tasks"], held["test_tasks"]]) if {"train_tasks", "test_tasks"} <= names else None
        test: NDArray[np.bool_] | None = np.arange(len(labels)) >= len(inputs[0])
    elif {"inputs", "labels"} <= names:
        inputs, labels = [held["inputs"]], np.asarray(held["labels"])
        tasks = np.asarray(held["tasks"]) if "tasks" in names else None
        test = np.asarray(held["test"]).astype(bool) if "test" in names else None
    else:
        rule = "must hold train_inputs, train_labels, test_inputs and test_labels, or inputs and labels"
        raise DataError(f"{path}: {rule}, got {', '.join(sorted(names)) or 'none'}.")
    shape = inputs[0].shape[1:]
    if any(each.shape[1:] != shape for each in inputs) or sum(map(len, inputs)) != len(labels) or not shape:
        got = ", ".join(str(each.shape) for each in inputs)
        raise DataError(f"{path}: inputs must be (n, …) of one shape, a label for each, got {got} and {len(labels)} labels.")

    def blocks() -> Iterator[Values]:
        for each in inputs:
            for first in range(0, len(each), BLOCK):
                yield each[first : first + BLOCK]

    return Opened(labels, tasks, test, shape, "image" if len(shape) in (2, 3) else "vector", blocks)


def parquet(path: Path, reading: Reading) -> Opened:
    """Columns of numbers, or one of lists of them; read by row group."""
    import pyarrow.parquet as pq

    return _table(path, reading, lambda columns: pq.ParquetFile(path, pre_buffer=False).iter_batches(BLOCK, columns=columns))


def csv(path: Path, reading: Reading) -> Opened:
    """Columns of numbers with a line of names; read by block."""
    from pyarrow import csv as reader

    options = reader.ConvertOptions(include_columns=[])

    def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        chosen = options if columns is None else reader.ConvertOptions(include_columns=columns)
        return iter(reader.open_csv(path, convert_options=chosen))

    return _table(path, reading, batches)


def arrow(path: Path, reading: Reading) -> Opened:
    """A data set of Hugging Face saved to disk: .arrow files, or folders `train` and `test` (or `validation`) of them; mapped."""
    parts = [part for part in ("train", "test", "validation") if list((path / part).glob("*.arrow"))]
    parts = [part for part in parts if part != "validation" or "test" not in parts]
    folders = [path / part for part in parts] or [path]
    opened = [_table(folder, reading, _arrow_batches(folder)) for folder in folders]
    if len(opened) == 1:
        return opened[0]
    train, test = opened
    return Opened(
        np.concatenate([train.labels, test.labels]),
        None if train.tasks is None or test.tasks is None else np.concatenate([train.tasks, test.tasks]),
        np.arange(len(train.labels) + len(test.labels)) >= len(train.labels),
        train.shape,
        train.kind,
        lambda: (block for each in opened for block in each.blocks()),
    )


def _arrow_batches(folder: Path) -> Callable[[list[str] | None], Iterator[pa.RecordBatch]]:
    def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        for file in sorted(folder.glob("*.arrow")):
            for batch in pa.ipc.open_stream(pa.memory_map(str(file))):
                yield batch if columns is None else batch.select(columns)

    return batches


def lines(path: Path, reading: Reading) -> Opened:
    """An object of JSON a line, with a text or numbers and a label."""

    def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:
        rows: list[dict[str, Any]] = []
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line) if line.strip() else None
                except ValueError:
                    raise DataError(f"{path}, line {number}: is not JSON.") from None
                if row is not None:
                    rows.append(row if columns is None else {name: row.get(name) for name in columns})
                if len(rows) == BLOCK:
                    yield pa.RecordBatch.from_pylist(rows)
                    rows = []
        if rows:
            yield pa.RecordBatch.from_pylist(rows)

    return _table(path, reading, batches)


Batches = Callable[[list[str] | None], Iterable[pa.RecordBatch]]
"""What yields a table's rows, of all columns or of those named."""


def _table(path: Path, reading: Reading, batches: Batches) -> Opened:
    """Rows of named columns: a text, an image as encoded bytes, a list of numbers, or numbers."""
    names = _names(path, batches)
    if reading.labels not in names:
        raise DataError(
            f"{path}: has no column {reading.labels!r}, but {', '.join(names)}.", "Name the labels' one as [stream.read] labels."
        )
    said = [name for name in (reading.labels, reading.tasks, reading.split) if name in names]
    facts = pa.Table.from_batches(list(batches(said)))
    values = {name: facts.column(name).to_numpy(zero_copy_only=False) for name in said}
    split = values.get(reading.split)
    test = None if split is None else np.isin(split, ["test", "validation"])
    columns = [name for name in names if name not in said]
    kind: Literal["image", "vector", "features"] = "vector"
    if reading.text in columns:
        columns, kind = [reading.text], "features"
    elif reading.image in columns:
        columns, kind = [reading.image], "image"
    convert = {"features": _hashed, "image": _decoded, "vector": _numbers}[kind]

    def blocks() -> Iterator[Values]:
        for batch in batches(columns):
            yield convert(path, batch.select(columns), reading)

    first = next(blocks(), np.empty((0, 0)))
    return Opened(values[reading.labels], values.get(reading.tasks), test, first.shape[1:], kind, blocks)


def _names(path: Path, batches: Batches) -> list[str]:
    for batch in batches(None):
        return list(batch.schema.names)
    raise DataError(f"{path}: holds no rows.")


def _hashed(path: Path, batch: pa.RecordBatch, reading: Reading) -> Values:
    from sklearn.feature_extraction.text import HashingVectorizer

    texts = [text or "" for text in batch.column(0).to_pylist()]
    return np.asarray(HashingVectorizer(n_features=reading.features, dtype=np.float32).transform(texts).toarray())


def _decoded(path: Path, batch: pa.RecordBatch, reading: Reading) -> Values:
    from io import BytesIO

    held = [value["bytes"] if isinstance(value, dict) else value for value in batch.column(0).to_pylist()]
    return pictures(path, [BytesIO(each) for each in held], reading)


def _numbers(path: Path, batch: pa.RecordBatch, reading: Reading) -> Values:
    parts = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            parts.append(_column(column, len(batch)))
        except (pa.ArrowInvalid, ValueError, TypeError):
            hint = "Leave the column out of the file, or turn it into numbers."
            raise DataError(
                f"{path}: column {name!r} must be numbers, or lists of one length, got {column.type}.", hint
            ) from None
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _column(column: pa.Array, n: int) -> NDArray[np.float32]:
    """Return (n, k): a column's numbers, k to a row."""
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    values = column.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    return values.reshape(n, -1)


def pictures(path: Path, files: Sequence[Any], reading: Reading) -> NDArray[np.uint8]:
    """Return images (m, height, width) or (m, height, width, 3) of files or streams."""
    from PIL import Image

    made = []
    for file in files:
        with Image.open(file) as image:
            shown = image.convert("L" if image.mode in ("1", "L", "I", "I;16", "F") else "RGB")
            made.append(np.asarray(shown.resize((reading.size, reading.size)) if reading.size else shown))
    if len({each.shape for each in made}) > 1:
        hint = "Say [stream.read] size, to which all are brought."
        raise DataError(f"{path}: images must be of one size, got {sorted({each.shape for each in made})[:3]}.", hint)
    return np.stack(made)


IMAGES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})


def images(path: Path, reading: Reading) -> Opened:
    """A folder of images a class, or folders `train` and `test` of such folders."""
    parts = [path / "train", path / "test"] if (path / "train").is_dir() and (path / "test").is_dir() else [path]
    found = [
        (file, file.parent.name, number)
        for number, part in enumerate(parts)
        for file in sorted(part.glob("*/*"))
        if file.suffix.lower() in IMAGES
    ]
    if not found:
        raise DataError(f"{path}: holds no images in folders of their class.", "Lay them out as class/image.png.")
    files = [file for file, _, _ in found]

    def blocks() -> Iterator[Values]:
        for first in range(0, len(files), BLOCK):
            yield pictures(path, files[first : first + BLOCK], reading)

    shape = pictures(path, files[:1], reading).shape[1:]
    test = np.array([number == 1 for *_, number in found]) if len(parts) == 2 else None
    return Opened(np.array([label for _, label, _ in found]), None, test, shape, "image", blocks)
