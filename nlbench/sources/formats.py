"""Formats of data files: what each row is labelled, at once, and the rows themselves, block by block, in the same order."""

from __future__ import annotations

import csv as python_csv
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nlbench.errors import DataError
from nlbench.sources.columns import FINITE, Opened, Values, left_out, pictures, table
from nlbench.specs.reading import Reading

Columns = tuple[str, ...] | None
"""Of another file, whose rows are to be made of the same columns."""
BLOCK: Final = 1024
"""Rows read at once."""
FIRST: Final = 2**20
"""Bytes of a CSV by which its columns' types are found."""
BUFFER: Final = 2**20
"""Bytes of a Parquet file that are read at once, of each column."""
COLUMNS: Final = 32
"""Columns of a Parquet file that are read at once: of each a page is unpacked, which is often the whole column."""


def arrays(path: Path, reading: Reading, like: Columns = None) -> Opened:
    """.npz of `train_inputs`, `train_labels`, `test_inputs`, `test_labels`, perhaps `train_tasks`, `test_tasks`; or of `inputs`,
    `labels`, perhaps `tasks` and `test`. A folder of .npy files of these names is the same, and is mapped, not loaded.
    """
    held = (
        {file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in sorted(path.glob("*.npy"))}
        if path.is_dir()
        else np.load(path, allow_pickle=False)
    )
    names = set(held.keys() if isinstance(held, dict) else held.files)
    _refuse_unasked(path, reading, ("labels", "tasks", "split", "text", "image", "unused", "size", "channels", "features"))
    if len(alone := {"train_tasks", "test_tasks"} & names) == 1:
        raise DataError(f"{path}: must hold train_tasks and test_tasks or neither, got {min(alone)} alone.")
    if {"train_inputs", "train_labels", "test_inputs", "test_labels"} <= names:
        parts = ["train_inputs", "test_inputs"]
        labels = joined([_plain(path, held, name) for name in ("train_labels", "test_labels")])
        said = [_plain(path, held, name) for name in ("train_tasks", "test_tasks") if name in names]
        tasks = joined(said) if said else None
        test: NDArray[np.bool_] | None = np.arange(len(labels)) >= len(held["train_labels"])
    elif {"inputs", "labels"} <= names:
        parts, labels = ["inputs"], np.asarray(_plain(path, held, "labels"))
        tasks = np.asarray(_plain(path, held, "tasks")) if "tasks" in names else None
        test = _booleans(path, np.asarray(_plain(path, held, "test"))) if "test" in names else None
    else:
        rule = "must hold train_inputs, train_labels, test_inputs and test_labels, or inputs and labels"
        hint = "Save them under these names: numpy.savez(file, inputs=x, labels=y)."
        raise DataError(f"{path}: {rule}, got {', '.join(sorted(names)) or 'none'}.", hint)
    shapes, types = zip(*((each.shape, each.dtype) for each in (_plain(path, held, part) for part in parts)), strict=True)
    shape = shapes[0][1:]
    if not shape or 0 in shape or any(each[1:] != shape for each in shapes):
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

    def fault(row: int, place: int) -> DataError:
        name = parts[row >= shapes[0][0]]
        rule = f"{name} must be finite in float32, which those at index {row - (name != parts[0]) * shapes[0][0]} are not"
        return DataError(f"{path}: {rule}.", FINITE)

    return Opened(labels, tasks, test, shape, "image" if len(shape) in (2, 3) else "vector", (blocks,), fault)


def joined(parts: Sequence[Values]) -> Values:
    """Return labels or tasks (N,) of several files or arrays one after another; numbers of several types stay what they are."""
    if len({each.dtype.kind for each in parts}) == 1 or any(each.ndim != 1 for each in parts):
        return np.concatenate(parts)
    return np.array([value for each in parts for value in each.tolist()], dtype=object)


def _booleans(path: Path, values: Values) -> NDArray[np.bool_]:
    """Return which rows are the test set."""
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise DataError(f"{path}: test must be True or False, or 1 or 0, for each row.")
    return values.astype(bool)


def _refuse_unasked(path: Path, reading: Reading, keys: Iterable[str]) -> None:
    """Refuse what is said of a reading that files of this kind never ask for."""
    if unasked := [key for key in keys if key in reading.model_fields_set]:
        raise DataError(f"{path}: stream.read.{unasked[0]}: is not for files of this kind.", "Leave it out.")


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


def parquet(path: Path, reading: Reading, like: Columns = None) -> Opened:
    """Columns of numbers, or one of lists of them; read block by block, some columns at a time."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(path)

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        file = pq.ParquetFile(path, metadata=metadata, buffer_size=BUFFER, pre_buffer=False)
        yield from file.iter_batches(BLOCK, columns=columns)

    return table(path, reading, metadata.schema.to_arrow_schema(), batches, like=like, at_once=COLUMNS)


def csv(path: Path, reading: Reading, like: Columns = None) -> Opened:
    """Columns of numbers with a line of names; read by block. What the first block says of types is not believed of the others:
    whole numbers there may be any numbers later, and labels words.
    """
    from pyarrow import csv as reader

    types: dict[str, pa.DataType] = {}

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            options = reader.ConvertOptions(include_columns=columns, column_types=types)
            yield from reader.open_csv(path, convert_options=options)
        except pa.ArrowInvalid as error:
            raise _csv_fault(path, str(error), columns) from None

    try:
        schema = reader.open_csv(path).schema
    except pa.ArrowInvalid as error:
        raise _csv_fault(path, str(error), ()) from None
    _refuse_other_separators(path, schema.names)
    later = path.stat().st_size > FIRST
    for name in {reading.labels, reading.tasks} & set(schema.names) if later else ():
        try:
            deque(reader.open_csv(path, convert_options=reader.ConvertOptions(include_columns=[name])), maxlen=0)
        except pa.ArrowInvalid:
            types[name] = pa.string()
    named = {reading.labels, reading.tasks, reading.split, reading.text}
    types |= {each.name: pa.float64() for each in schema if each.name not in named and _may_widen(each.type)}
    types |= {name: pa.string() for name in {reading.text} & set(schema.names)}
    return table(path, reading, schema, batches, like=like, where=partial(_csv_line, path))


def _may_widen(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_null(kind)


def _refuse_other_separators(path: Path, names: Sequence[str]) -> None:
    if len(names) == 1 and any(sign in names[0] for sign in ";\t|"):
        raise DataError(f"{path}: columns must be separated by commas, got the one column {names[0][:60]!r}.")


def _csv_fault(path: Path, why: str, columns: Sequence[str]) -> DataError:
    """Return what is wrong with a file that pyarrow gave up for this reason, by the line that an editor shows."""
    said = re.search(r"conversion error to \w+: invalid value '(.*)'", why)
    refused = said[1] if said is not None else None
    rows = _csv_rows(path)
    _, names = next(rows, (0, []))
    _refuse_other_separators(path, names)
    for line, row in _sound(rows):
        place = f"{path}, line {line}"
        if len(row) != len(names):
            return DataError(f"{place}: must have {len(names)} values, one a column, got {len(row)}.")
        if found := [name for name, value in zip(names, row, strict=True) if value == refused and name in columns]:
            return DataError(f"{place}: column {found[0]!r} must be numbers, as above, got {refused!r}.", left_out(found))
    return DataError(f"{path}: cannot be read: {why.splitlines()[0].rstrip('.')}.")


def _sound(rows: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    """Yield rows up to the first that Python's reader gives up."""
    with suppress(python_csv.Error):
        yield from rows


def _csv_line(path: Path, row: int) -> str:
    found = next(islice(_sound(_csv_rows(path)), row + 1, None), None)
    return f"row {row + 1}" if found is None else f"line {found[0]}"


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield what is in each line, the names included, with the line's number; a value may go over several."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows, line = python_csv.reader(file), 1
        for row in rows:
            if row:
                yield line, row
            line = rows.line_num + 1


def arrow(path: Path, reading: Reading, like: Columns = None) -> Opened:
    """A data set of Hugging Face saved to disk: .arrow files, or folders `train` and `test` (or `validation`) of them; mapped."""
    parts = [part for part in ("train", "test", "validation") if list((path / part).glob("*.arrow"))]
    parts = [part for part in parts if part != "validation" or "test" not in parts]
    folders = [path / part for part in parts] or [path]
    train = _arrow(folders[0], reading, like)
    if len(folders) == 1:
        return train
    test = _arrow(folders[1], reading, train.columns)
    opened = (train, test)

    def fault(row: int, place: int) -> DataError:
        each, first = (train, 0) if row < len(train.labels) else (test, len(train.labels))
        assert each.fault is not None
        return each.fault(row - first, place)

    return Opened(
        joined([train.labels, test.labels]),
        None if train.tasks is None or test.tasks is None else joined([train.tasks, test.tasks]),
        np.arange(len(train.labels) + len(test.labels)) >= len(train.labels),
        train.shape,
        train.kind,
        (lambda: (block for each in opened for block in each.blocks()),),
        fault,
        train.ids,
        train.columns,
        train.beside,
    )


def _arrow(folder: Path, reading: Reading, like: Columns) -> Opened:
    files = _of_state(folder)
    if not files:
        held = sorted({file.relative_to(folder).parts[0] for file in folder.rglob("*.arrow")})
        hint = f'Name one of them, such as "{folder / held[0]}", and perhaps another as [stream.read] test.'
        raise DataError(
            f"{folder}: .arrow files must lie in it, or in train and test (or validation), got {', '.join(held)}.", hint
        )

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        for file in files:
            for batch in pa.ipc.open_stream(pa.memory_map(str(file))):
                yield batch.select(columns)

    return table(folder, reading, pa.ipc.open_stream(pa.memory_map(str(files[0]))).schema, batches, like=like)


def _of_state(folder: Path) -> list[Path]:
    """Return the .arrow files that a saved data set is made of: what its state says, as others beside them are copies that
    transformations left; all where it says nothing.
    """
    state = folder / "state.json"
    said = json.loads(state.read_text(encoding="utf-8")) if state.is_file() else {}
    if not isinstance(said, dict) or not all(isinstance(each, dict) for each in said.get("_data_files") or []):
        raise DataError(f"{state}: is not the state of a saved data set.", "Save the data set again.")
    if said.get("_indices_files") or said.get("_indices_data_files"):
        hint = "Save it flat: dataset.flatten_indices().save_to_disk(folder)."
        raise DataError(f"{folder}: its rows stand in another order than its state says.", hint)
    names = [str(each.get("filename")) for each in said.get("_data_files") or []]
    if odd := [name for name in names if Path(name).name != name or not (folder / name).is_file()]:
        raise DataError(f"{state}: names {odd[0]!r}, which is not in this folder.", "Save the data set again.")
    others = sorted(file for file in folder.glob("*.arrow") if not file.name.startswith("cache-"))
    return [folder / name for name in names] or others


def lines(path: Path, reading: Reading, like: Columns = None) -> Opened:
    """An object of JSON a line, with a text or numbers and a label."""

    def rows() -> Iterator[dict[str, Any]]:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line) if line.strip() else None
                except (ValueError, RecursionError):
                    raise DataError(f"{path}, line {number}: is not JSON.") from None
                if row is not None and not isinstance(row, dict):
                    raise DataError(f"{path}, line {number}: must be an object of JSON, got {type(row).__name__}.")
                if row is not None:
                    yield row

    def blocks() -> Iterator[list[dict[str, Any]]]:
        left = rows()
        while block := list(islice(left, BLOCK)):
            yield block

    schema = _json_schema(blocks())

    def batches(columns: list[str]) -> Iterator[pa.RecordBatch]:
        for block in blocks():
            try:
                batch = pa.RecordBatch.from_pylist(block, pa.schema([schema.field(name) for name in columns]))
            except (pa.ArrowException, OverflowError):
                for name in columns:
                    pa.array([row.get(name) for row in block])  # says what it is that has no type
                raise
            yield batch

    return table(path, reading, schema, batches, like=like, where=partial(_json_line, path))


def _json_schema(blocks: Iterable[list[dict[str, Any]]]) -> pa.Schema:
    """Return the columns of all rows, each of the type that holds its values; of the first type where none holds them all."""
    schema = pa.schema([])
    for block in blocks:
        for name in dict.fromkeys(key for row in block for key in row):
            try:
                own = pa.schema([(name, pa.array([row.get(name) for row in block]).type)])
                schema = pa.unify_schemas([schema, own], promote_options="permissive")
            except (pa.ArrowException, OverflowError):
                if name not in schema.names:
                    schema = schema.append(pa.field(name, pa.string()))
    return schema


def _json_line(path: Path, row: int) -> str:
    with path.open(encoding="utf-8-sig") as file:
        held = (number for number, line in enumerate(file, 1) if line.strip())
        return f"line {next(islice(held, row, None))}"


def _hidden(folder: Path, file: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


IMAGES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})


def images(path: Path, reading: Reading, like: Columns = None) -> Opened:
    """A folder of images a class, or folders `train` and `test` of such folders; what begins with a full stop is hidden."""
    _refuse_unasked(path, reading, ("labels", "tasks", "split", "text", "image", "unused", "features"))
    parts = [path / "train", path / "test"] if (path / "train").is_dir() and (path / "test").is_dir() else [path]
    held = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in IMAGES and not _hidden(path, file)]
    found = [(file, file.parent.name, number) for number, part in enumerate(parts) for file in held if file.parent.parent == part]
    if found and len(found) < len(held):
        left = next(file for file in held if file.parent.parent not in parts)
        raise DataError(f"{left}: must lie in the folder of its class, as {found[0][0]} does.", "Move it, or take it out.")
    if not found:
        raise DataError(f"{path}: holds no images in folders of their class.", "Lay them out as class/image.png.")
    files = [file for file, _, _ in found]

    def blocks() -> Iterator[Values]:
        for first in range(0, len(files), BLOCK):
            yield pictures(path, files[first : first + BLOCK], reading)

    shape = pictures(path, files[:1], reading).shape[1:]
    test = np.array([number == 1 for *_, number in found]) if len(parts) == 2 else None
    return Opened(np.array([label for _, label, _ in found]), None, test, shape, "image", (blocks,))
