"""Formats of data files: what each row is labelled, at once, and the rows themselves, block by block, in the same order."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nlbench.errors import DataError
from nlbench.specs.reading import Reading

BLOCK: Final = 1024
"""Rows read at once."""
BUFFER: Final = 2**20
"""Bytes of a Parquet file that are read at once, of each column."""
COLUMNS: Final = 32
"""Columns of a Parquet file that are read at once: of each a page is unpacked, which is often the whole column."""

Values = NDArray[Any]


@dataclass(frozen=True)
class Opened:
    """A data file that has been looked at.

    labels  (N,) as they stand in the file
    tasks   (N,) numbers of tasks, or None
    test    (N,) bool: which rows are the test set, or None where the file does not say
    shape   of one row
    parts   each yields some numbers of every row, (m, *shape) but for the last axis, along which parts lie beside each other; the
            same rows at a time, in order; numbers of 8 bits are 0 to 255
    """

    labels: Values
    tasks: Values | None
    test: NDArray[np.bool_] | None
    shape: tuple[int, ...]
    kind: Literal["image", "vector", "features"]
    parts: tuple[Callable[[], Iterator[Values]], ...]

    def blocks(self) -> Iterator[Values]:
        """Yield the rows (m, *shape) in order."""
        for beside in zip(*(part() for part in self.parts), strict=True):
            yield np.concatenate(beside, axis=-1) if len(beside) > 1 else beside[0]


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
        parts = ["train_inputs", "test_inputs"]
        labels = np.concatenate([_plain(path, held, name) for name in ("train_labels", "test_labels")])
        tasks = np.concatenate([held["train_tasks"], held["test_tasks"]]) if {"train_tasks", "test_tasks"} <= names else None
        test: NDArray[np.bool_] | None = np.arange(len(labels)) >= len(held["train_labels"])
    elif {"inputs", "labels"} <= names:
        parts, labels = ["inputs"], np.asarray(_plain(path, held, "labels"))
        tasks = np.asarray(held["tasks"]) if "tasks" in names else None
        test = np.asarray(held["test"]).astype(bool) if "test" in names else None
    else:
        rule = "must hold train_inputs, train_labels, test_inputs and test_labels, or inputs and labels"
        hint = "Save them under these names: numpy.savez(file, inputs=x, labels=y)."
        raise DataError(f"{path}: {rule}, got {', '.join(sorted(names)) or 'none'}.", hint)
    shapes, types = zip(*((each.shape, each.dtype) for each in (_plain(path, held, part) for part in parts)), strict=True)
    shape = shapes[0][1:]
    if not shape or any(each[1:] != shape for each in shapes):
        raise DataError(f"{path}: inputs must be (n, …) of one shape, got {', '.join(map(str, shapes))}.")
    if odd := [each for each in types if each.kind not in "biuf"]:
        raise DataError(f"{path}: inputs must be real numbers, got {odd[0]}.")
    rows = sum(each[0] for each in shapes)
    for what, values in (("labels", labels), ("tasks", tasks), ("test", test)):
        if values is not None and values.shape != (rows,):
            hint = "Of one label in several columns, take the place of the largest: labels.argmax(1)." if values.ndim > 1 else ""
            raise DataError(f"{path}: {what} must be one for each of the {rows} inputs, got {values.shape}.", hint)
    if test is not None and len(parts) == 2 and test.sum() != shapes[1][0]:
        got = f"{shapes[0][0]} and {np.sum(~test)}"
        raise DataError(f"{path}: train_inputs and train_labels must be as many, got {got}.")

    def blocks() -> Iterator[Values]:
        for part in parts:
            each = held[part]  # of an .npz unpacked anew, so that nobody keeps it
            for first in range(0, len(each), BLOCK):
                yield each[first : first + BLOCK]

    return Opened(labels, tasks, test, shape, "image" if len(shape) in (2, 3) else "vector", (blocks,))


def _plain(path: Path, held: Any, name: str) -> Values:
    """Return an array of an .npz, whose pickled objects are never loaded."""
    try:
        values: Values = held[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        hint = "Save numbers as such: {}.astype(float)." if name.endswith("inputs") else "Save words as such: {}.astype(str)."
        raise DataError(f"{path}: {name} holds Python objects, which are never loaded.", hint.format(name)) from None
    return values


def parquet(path: Path, reading: Reading) -> Opened:
    """Columns of numbers, or one of lists of them; read block by block, some columns at a time."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        file = pq.ParquetFile(path, metadata=metadata, buffer_size=BUFFER, pre_buffer=False)
        yield from file.iter_batches(BLOCK, columns=columns)

    return _table(path, reading, metadata.schema.to_arrow_schema().names, batches, at_once=COLUMNS)


def csv(path: Path, reading: Reading) -> Opened:
    """Columns of numbers with a line of names; read by block."""
    from pyarrow import csv as reader

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        return iter(reader.open_csv(path, convert_options=reader.ConvertOptions(include_columns=columns)))

    names = reader.open_csv(path).schema.names
    if len(names) == 1 and any(sign in names[0] for sign in ";\t|"):
        raise DataError(f"{path}: columns must be separated by commas, got the one column {names[0][:60]!r}.")
    return _table(path, reading, names, batches)


def arrow(path: Path, reading: Reading) -> Opened:
    """A data set of Hugging Face saved to disk: .arrow files, or folders `train` and `test` (or `validation`) of them; mapped."""
    parts = [part for part in ("train", "test", "validation") if list((path / part).glob("*.arrow"))]
    parts = [part for part in parts if part != "validation" or "test" not in parts]
    folders = [path / part for part in parts] or [path]
    opened = [_arrow(folder, reading) for folder in folders]
    if len(opened) == 1:
        return opened[0]
    train, test = opened
    return Opened(
        np.concatenate([train.labels, test.labels]),
        None if train.tasks is None or test.tasks is None else np.concatenate([train.tasks, test.tasks]),
        np.arange(len(train.labels) + len(test.labels)) >= len(train.labels),
        train.shape,
        train.kind,
        (lambda: (block for each in opened for block in each.blocks()),),
    )


def _arrow(folder: Path, reading: Reading) -> Opened:
    files = sorted(folder.glob("*.arrow"))

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        for file in files:
            for batch in pa.ipc.open_stream(pa.memory_map(str(file))):
                yield batch.select(columns)

    return _table(folder, reading, pa.ipc.open_stream(pa.memory_map(str(files[0]))).schema.names, batches)


def lines(path: Path, reading: Reading) -> Opened:
    """An object of JSON a line, with a text or numbers and a label."""

    def rows() -> Iterator[dict[str, Any]]:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line) if line.strip() else None
                except ValueError:
                    raise DataError(f"{path}, line {number}: is not JSON.") from None
                if row is not None and not isinstance(row, dict):
                    raise DataError(f"{path}, line {number}: must be an object of JSON, got {type(row).__name__}.")
                if row is not None:
                    yield row

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        left = ({name: row.get(name) for name in columns} for row in rows())
        while block := list(islice(left, BLOCK)):
            yield pa.RecordBatch.from_pylist(block)

    return _table(path, reading, list(next(rows(), {})), batches)


Batches = Callable[[list[str]], Iterable[pa.RecordBatch]]
"""What yields the columns named of a table's rows."""


def _table(path: Path, reading: Reading, names: Sequence[str], batches: Batches, *, at_once: int | None = None) -> Opened:
    """Rows of named columns: a text, an image as encoded bytes, a list of numbers, or numbers; all together or some at once."""
    if reading.labels not in names:
        held = f"but {', '.join(names)}" if names else "nor any other"
        raise DataError(
            f"{path}: has no column {reading.labels!r}, {held}.",
            "Name the labels' one: [stream.read] labels, or --set stream.read.labels=NAME.",
        )
    if twice := [name for number, name in enumerate(names) if name in names[:number]]:
        raise DataError(f"{path}: has two columns {twice[0]!r}.", "Give each a name of its own.")
    if unknown := [name for name in reading.unused if name not in names]:
        raise DataError(f"{path}: stream.read.unused: must be among its columns, {', '.join(names)}, got {', '.join(unknown)}.")
    said = [name for name in (reading.labels, reading.tasks, reading.split) if name in names]
    parts = list(batches(said))
    if not sum(map(len, parts)):
        raise DataError(f"{path}: holds no rows.")
    facts = pa.Table.from_batches(parts)
    values = {name: _facts(facts.column(name)) for name in said}
    split = values.get(reading.split)
    test = None if split is None else _tested(path, split, reading)
    columns = [name for name in names if name not in (*said, *reading.unused)]
    kind: Literal["image", "vector", "features"] = "vector"
    if reading.text in columns:
        columns, kind = [reading.text], "features"
    elif reading.image in columns:
        columns, kind = [reading.image], "image"
    convert = {"features": _hashed, "image": _decoded, "vector": _numbers}[kind]
    if not columns:
        raise DataError(f"{path}: has no column beside {', '.join(names)}: a sample must be something.")

    def blocks(columns: list[str]) -> Iterator[Values]:
        for batch in batches(columns):
            yield convert(path, batch.select(columns), reading)

    size = at_once or len(columns)
    each = tuple(partial(blocks, columns[first : first + size]) for first in range(0, len(columns), size))
    shapes = [next(part()).shape[1:] for part in each]
    shape = (*shapes[0][:-1], sum(one[-1] for one in shapes))
    return Opened(values[reading.labels], values.get(reading.tasks), test, shape, kind, each)


def _tested(path: Path, split: Values, reading: Reading) -> NDArray[np.bool_]:
    """Return which rows are the test set."""
    odd = np.flatnonzero([value not in ("train", "test", "validation") for value in split.tolist()])
    if len(odd):
        raise DataError(
            f"{path}: column {reading.split!r} must say train, test or validation, got {split[odd[0]]!r} in row {odd[0] + 1}.",
            "Where it is no such column, name another: [stream.read] split, or --set stream.read.split=NAME.",
        )
    return np.isin(split, ["test", "validation"])


def _facts(column: pa.ChunkedArray) -> Values:
    """Return a column's numbers, or objects where they are words or some are missing. No `to_numpy`: it imports pandas."""
    values = column.combine_chunks()
    if values.null_count or not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return np.array(values.to_pylist(), dtype=object)
    return np.from_dlpack(values)


def _hashed(path: Path, batch: pa.RecordBatch, reading: Reading) -> Values:
    from sklearn.feature_extraction.text import HashingVectorizer

    texts = batch.column(0).to_pylist()
    if odd := [text for text in texts if not isinstance(text, str)]:
        raise DataError(f"{path}: column {reading.text!r} must hold a text in every row, got {odd[0]!r}.")
    return np.asarray(HashingVectorizer(n_features=reading.features, dtype=np.float32).transform(texts).toarray())


def _decoded(path: Path, batch: pa.RecordBatch, reading: Reading) -> Values:
    from io import BytesIO

    held = [value["bytes"] if isinstance(value, dict) else value for value in batch.column(0).to_pylist()]
    if not all(isinstance(each, bytes) for each in held):
        hint = "Embed them (datasets.table.embed_table_storage), or name the folder of images itself."
        raise DataError(f"{path}: column {reading.image!r} must hold the bytes of image files.", hint)
    return pictures(path, [BytesIO(each) for each in held], reading)


def _numbers(path: Path, batch: pa.RecordBatch, reading: Reading) -> Values:
    parts = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            parts.append(_column(column, len(batch)))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
            hint = f"Leave it out with [stream.read] unused, or --set stream.read.unused={name}; or turn it into numbers."
            raise DataError(
                f"{path}: column {name!r} must be numbers, or lists of one length, got {column.type}.", hint
            ) from None
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def _column(column: pa.Array, n: int) -> NDArray[np.float32]:
    """Return (n, k): a column's numbers, k to a row, NaN where one is missing."""
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    if pa.types.is_string(column.type) or pa.types.is_temporal(column.type):
        raise ValueError
    values = column.cast(pa.float32(), safe=False)
    numbers = np.from_dlpack(values.fill_null(float("nan")) if values.null_count else values)
    return np.asarray(numbers, np.float32).reshape(n, -1)


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
    return Opened(np.array([label for _, label, _ in found]), None, test, shape, "image", (blocks,))
