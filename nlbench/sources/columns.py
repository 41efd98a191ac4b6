"""Rows of named columns as numbers: of each value that is none, the file, where an editor finds it, and its column are said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nlbench.errors import DataError
from nlbench.specs.problems import shown
from nlbench.specs.reading import Reading

Values = NDArray[Any]
Fault = Callable[[int, int], DataError]

NAMING: Final = frozenset({"tasks", "split", "text", "image", "unused"})
"""Keys of a reading that name columns, beside the labels'."""
EXACT: Final = 2.0**53
"""Up to here float64 tells whole numbers apart."""
_SHORT: Final = (
    pa.types.is_float32, pa.types.is_float16, pa.types.is_boolean, pa.types.is_null, pa.types.is_int8, pa.types.is_uint8,
    pa.types.is_int16, pa.types.is_uint16,
)  # fmt: skip
"""What float32 holds without a loss."""
FINITE: Final = "Fill what is missing, scale what float32 cannot hold (3e38), or leave those rows out."


@dataclass(frozen=True)
class Opened:
    """A data file that has been looked at.

    labels  (N,) as they stand in the file
    tasks   (N,) numbers of tasks, or None
    test    (N,) bool: which rows are the test set, or None where the file does not say
    shape   of one row
    parts   each yields some numbers of every row, (m, *shape) but for the last axis, along which parts lie beside each other; the
            same rows at a time, in order; numbers of 8 bits are 0 to 255
    fault   what is wrong with a number that is not finite, by its row and its place in the last axis, both from 0; None of bytes
    ids     columns that may do no more than tell rows apart
    columns those that a sample is made of, in order; none where rows have no names
    beside  columns that stand beside a text or an image and are not shown
    """

    labels: Values
    tasks: Values | None
    test: NDArray[np.bool_] | None
    shape: tuple[int, ...]
    kind: Literal["image", "vector", "features"]
    parts: tuple[Callable[[], Iterator[Values]], ...]
    fault: Fault | None = None
    ids: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def blocks(self) -> Iterator[Values]:
        """Yield the rows (m, *shape) in order."""
        for beside in zip(*(part() for part in self.parts), strict=True):
            yield np.concatenate(beside, axis=-1) if len(beside) > 1 else beside[0]


def _row(row: int) -> str:
    return f"row {row + 1}"


Batches = Callable[[list[str]], Iterable[pa.RecordBatch]]
"""What yields the columns named of a table's rows."""


@dataclass(frozen=True)
class _Rows:
    """Rows of a table's file, from its row `first` on: `where` says how an editor finds one."""

    path: Path
    where: Callable[[int], str]
    first: int = 0

    def at(self, row: int) -> str:
        return f"{self.path}, {self.where(self.first + row)}"


def table(
    path: Path,
    reading: Reading,
    schema: pa.Schema,
    batches: Batches,
    *,
    like: tuple[str, ...] | None = None,
    at_once: int | None = None,
    where: Callable[[int], str] = _row,
) -> Opened:
    """Rows of named columns: a text, an image as encoded bytes, a list of numbers, or numbers; all together or some at once.
    `like` are the columns of another file, which these must be, in whatever order; a list has no names to compare.
    """
    names = schema.names
    if reading.labels not in names:
        held = f"but {', '.join(names)}" if names else "nor any other"
        raise DataError(
            f"{path}: has no column {reading.labels!r}, {held}.",
            "Name the labels' one: [stream.read] labels, or --set stream.read.labels=NAME.",
        )
    if twice := [name for number, name in enumerate(names) if name in names[:number]]:
        raise DataError(f"{path}: has two columns {twice[0]!r}.", "Give each a name of its own.")
    asked = {key: getattr(reading, key) for key in NAMING & reading.model_fields_set} if like is None else {}
    if reading.test is not None:
        asked.pop("unused", None)  # the other file may have it
    for key, said in sorted(asked.items()):
        if unknown := [name for name in ([said] if isinstance(said, str) else said) if name not in names]:
            rule = f"must be among its columns, {', '.join(names)}, got {', '.join(unknown)}"
            raise DataError(f"{path}: stream.read.{key}: {rule}.")
    facts_named = [name for name in (reading.labels, reading.tasks, reading.split) if name in names]
    parts = list(batches(facts_named))
    if not sum(map(len, parts)):
        raise DataError(f"{path}: holds no rows.")
    facts = pa.Table.from_batches(parts)
    values = {name: _facts(facts.column(name)) for name in facts_named}
    file = _Rows(path, where)
    for name in facts_named:
        _refuse_odd(file, name, values[name])
    split = values.get(reading.split)
    test = None if split is None else _tested(file, split, reading)
    given = [name for name in names if name not in (*facts_named, *reading.unused)]
    columns = given
    kind: Literal["image", "vector", "features"] = "vector"
    if reading.text in columns:
        columns, kind = [reading.text], "features"
    elif reading.image in columns:
        columns, kind = [reading.image], "image"
    if like is not None and (len(columns) > 1) == (len(like) > 1):
        _refuse_others(path, columns, like)
        columns = list(like)
    if kind != "image" and (unasked := sorted({"size", "channels", "layout"} & reading.model_fields_set)):
        raise DataError(f"{path}: stream.read.{unasked[0]}: is for images, and its columns hold none.")
    convert = {"features": _hashed, "image": _decoded, "vector": _numbers}[kind]
    if not columns:
        raise DataError(f"{path}: has no column beside {', '.join(names)}: a sample must be something.")

    def blocks(columns: list[str]) -> Iterator[Values]:
        first = 0
        for batch in batches(columns):
            yield convert(replace(file, first=first), batch.select(columns), reading)
            first += len(batch)

    size = at_once or len(columns)
    each = tuple(partial(blocks, columns[first : first + size]) for first in range(0, len(columns), size))
    shapes = [next(part()).shape[1:] for part in each]
    shape = (*shapes[0][:-1], sum(one[-1] for one in shapes))
    ids = _ids(batches, schema, columns, size) if kind == "vector" else ()
    labels, tasks = values[reading.labels], values.get(reading.tasks)
    beside = tuple(name for name in given if name not in columns)
    return Opened(labels, tasks, test, shape, kind, each, partial(_fault, file, batches, columns), ids, tuple(columns), beside)


def _refuse_others(path: Path, columns: Sequence[str], like: Sequence[str]) -> None:
    """Refuse columns that are not those of another file, whatever their order."""
    missing, more = ([name for name in one if name not in other] for one, other in ((like, columns), (columns, like)))
    if missing or more:
        lacks = [f"it lacks {', '.join(map(repr, missing[:5]))}"] if missing else []
        has = [f"it also has {', '.join(map(repr, more[:5]))}"] if more else []
        hint = "Give both the same names, or leave out with [stream.read] unused what one has alone."
        raise DataError(f"{path}: must have the columns of the training set: {' and '.join([*lacks, *has])}.", hint)


def _refuse_odd(file: _Rows, name: str, values: Values) -> None:
    """Refuse what is neither a whole number nor a word, where it stands."""
    if values.ndim > 1:
        return
    if values.dtype == object:
        odd = np.array([not _is_name(value) for value in values])
    elif values.dtype.kind == "f":
        odd = ~((np.abs(values) <= EXACT) & (values == np.rint(values)))
    else:
        return
    if odd.any():
        row = int(odd.argmax())
        value = values[row]
        empty = value is None or value == "" or value != value
        at_most = " of at most 2^53" if isinstance(value, float) and abs(value) > EXACT else ""
        told = shown(value) if isinstance(value, dict | list) else value
        rule = "is empty" if empty else f"must be a whole number{at_most} or a word, got {told}"
        hint = "Fill it in, or leave that row out." if empty else ""
        raise DataError(f"{file.at(row)}: column {name!r} {rule}.", hint)


def _is_name(value: object) -> bool:
    """Return whether a value can name a class: a word or a whole number."""
    return (isinstance(value, str) and value != "") or isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _fault(file: _Rows, batches: Batches, columns: list[str], row: int, place: int) -> DataError:
    """Return what is wrong with a number of a row, which stands in this place beside the others."""
    widths = [_column(column, len(column)).shape[1] for column in next(iter(batches(columns))).select(columns).columns]
    name = columns[int(np.searchsorted(np.cumsum(widths), place, side="right"))]
    found = pa.Table.from_batches(batches([name])).column(name)
    value = found[row].as_py()
    if value is not None and value == value:
        return DataError(f"{file.at(row)}: column {name!r} must be finite in float32, got {shown(value)}.", FINITE)
    more = found.null_count - 1
    others = f" nor have {more:,} further rows" if more > 0 else ""
    return DataError(f"{file.at(row)}: column {name!r} has no number{',' if others else ''}{others}.", FINITE)


def _ids(batches: Batches, schema: pa.Schema, columns: list[str], at_once: int) -> tuple[str, ...]:
    """Return the columns that are called id, or hold whole numbers, another one in each row."""
    whole_numbers = [name for name in columns if pa.types.is_integer(schema.field(name).type)]
    likely: list[str] = []
    for first in range(0, len(whole_numbers), at_once):
        head = next(iter(batches(whole_numbers[first : first + at_once])))
        likely += [name for name in whole_numbers[first : first + at_once] if _tells(head[name])]
    if likely:
        whole = pa.Table.from_batches(batches(likely))
        likely = [name for name in likely if _tells(whole[name].combine_chunks())]
    return tuple(name for name in columns if name in likely or name.lower() == "id")


def _tells(column: pa.Array) -> bool:
    """Return whether whole numbers tell rows apart."""
    return not column.null_count and len(np.unique(np.from_dlpack(column))) == len(column)


def _tested(file: _Rows, split: Values, reading: Reading) -> NDArray[np.bool_]:
    """Return which rows are the test set."""
    odd = np.flatnonzero([value not in ("train", "test", "validation") for value in split.tolist()])
    if len(odd):
        raise DataError(
            f"{file.at(int(odd[0]))}: column {reading.split!r} must say train, test or validation, got {split[odd[0]]!r}.",
            "Where it is no such column, name another: [stream.read] split, or --set stream.read.split=NAME.",
        )
    return np.isin(split, ["test", "validation"])


def _facts(column: pa.ChunkedArray) -> Values:
    """Return a column's numbers, or objects where they are words or some are missing. No `to_numpy`: it imports pandas."""
    values = column.combine_chunks()
    if values.null_count or not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return np.array(values.to_pylist(), dtype=object)
    return np.from_dlpack(values)


def _hashed(rows: _Rows, batch: pa.RecordBatch, reading: Reading) -> Values:
    from sklearn.feature_extraction.text import HashingVectorizer

    texts = batch.column(0).to_pylist()
    if odd := [row for row, text in enumerate(texts) if not isinstance(text, str)]:
        raise DataError(f"{rows.at(odd[0])}: column {reading.text!r} must hold a text, got {texts[odd[0]]!r}.")
    return np.asarray(HashingVectorizer(n_features=reading.features, dtype=np.float32).transform(texts).toarray())


def _decoded(rows: _Rows, batch: pa.RecordBatch, reading: Reading) -> Values:
    from io import BytesIO

    held = [value["bytes"] if isinstance(value, dict) else value for value in batch.column(0).to_pylist()]
    if odd := [row for row, each in enumerate(held) if not isinstance(each, bytes)]:
        hint = "Embed them (datasets.table.embed_table_storage), or name the folder of images itself."
        raise DataError(f"{rows.at(odd[0])}: column {reading.image!r} must hold the bytes of an image file.", hint)
    return pictures(rows.path, [BytesIO(each) for each in held], reading)


def _numbers(rows: _Rows, batch: pa.RecordBatch, reading: Reading) -> Values:
    parts, odd = [], []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            parts.append(_column(column, len(batch)))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError):
            odd.append(name)
    if odd:
        row, value = _odd(batch[odd[0]])
        others = f"; nor is {' or '.join(map(repr, odd[1:]))}" if len(odd) > 1 else ""
        rule = f"column {odd[0]!r} must be numbers, or lists of one length, got {value}{others}"
        hint = left_out(odd)
        if pa.types.is_struct(kind := batch.schema.field(odd[0]).type) and kind.get_field_index("bytes") >= 0:
            hint = f"Of images say so: [stream.read] image, or --set stream.read.image={odd[0]}."
        raise DataError(f"{rows.at(row)}: {rule}.", hint)
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def settable(names: Sequence[str]) -> str:
    """Return names of columns as `--set` takes them."""
    return names[0] if len(names) == 1 and names[0].isidentifier() else f"'{json.dumps(list(names), ensure_ascii=False)}'"


def left_out(names: Sequence[str]) -> str:
    """Return the way out where columns are no numbers."""
    said = settable(names)
    what = "it" if len(names) == 1 else "them"
    return f"Leave {what} out with [stream.read] unused, or --set stream.read.unused={said}; or turn {what} into numbers."


def _odd(column: pa.Array) -> tuple[int, str]:
    """Return the first row whose value is no number, and what it is."""
    values = column.to_pylist()
    for row, value in enumerate(values):
        try:
            float(value)
        except (TypeError, ValueError):
            if value is not None and not isinstance(value, list):
                return row, shown(value) if isinstance(value, str | bytes | dict) else str(value)
    lengths = [len(value) if isinstance(value, list) else -1 for value in values]
    row = next((row for row, length in enumerate(lengths) if length != lengths[0] or length < 0), 0)
    return row, "nothing" if values[row] is None else f"{column.type}{f' of {lengths[row]}' if lengths[row] >= 0 else ''}"


def _column(column: pa.Array, n: int) -> NDArray[Any]:
    """Return (n, k): a column's numbers, k to a row, NaN where one is missing: float32 where that holds them, else float64."""
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type):
        if column.null_count or len(set(column.value_lengths().to_pylist())) > 1:
            raise ValueError("lists of several lengths")
        column = column.flatten()
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_null)
    if not any(is_kind(column.type) for is_kind in known):  # words are no numbers, though they may be made of figures
        raise ValueError
    kind = pa.float32() if any(is_kind(column.type) for is_kind in _SHORT) else pa.float64()
    values = column.cast(kind, safe=False)
    numbers = np.from_dlpack(values.fill_null(float("nan")) if values.null_count else values)
    return np.asarray(numbers).reshape(n, -1)


def pictures(path: Path, files: Sequence[Any], reading: Reading) -> NDArray[Any]:
    """Return images (m, height, width) or (m, height, width, 3) of files or streams: bytes, or float32 where grey is finer."""
    from PIL import Image

    made = []
    for file in files:
        try:
            made.append(_picture(file, reading))
        except (Image.DecompressionBombError, OSError, SyntaxError) as error:
            raise DataError(f"{file if isinstance(file, Path) else path}: cannot be read: {str(error).rstrip('.')}.") from None
    refuse_bytes_among_numbers(path, {each.dtype for each in made})
    refuse_shapes(path, {each.shape for each in made})
    if made[0].dtype != np.uint8 and not all(np.isfinite(each).all() for each in made):
        raise DataError(f"{path}: images must be finite.", FINITE)
    return np.stack(made)


def _picture(file: Any, reading: Reading) -> NDArray[Any]:
    from PIL import Image

    with Image.open(file) as image:
        deep = image.mode == "F" or image.mode.startswith("I")
        grey = image.mode in ("1", "L") if reading.channels is None else reading.channels == 1
        brought = image.convert("F" if deep else "L" if grey else "RGB")
        one = np.asarray(brought.resize((reading.size, reading.size)) if reading.size else brought)
    return np.repeat(one[..., None], 3, 2) if deep and reading.channels == 3 else one


def refuse_bytes_among_numbers(path: Path, types: Set[np.dtype[Any]]) -> None:
    """Refuse rows of bytes, which are divided by 255, beside rows of other numbers."""
    if len({each == np.uint8 for each in types}) > 1:
        raise DataError(f"{path}: must hold bytes, which are divided by 255, in all rows or in none.")


def refuse_shapes(path: Path, shapes: Set[tuple[int, ...]]) -> None:
    """Refuse rows of several shapes."""
    if len(shapes) > 1:
        several = sorted(shapes)
        way = "size" if len({shape[2:] for shape in several}) == 1 else "channels = 1 or 3"
        hint = f"Of images say [stream.read] {way}, to which all are brought." if len(several[0]) > 1 else ""
        raise DataError(f"{path}: rows must have one shape, got {', '.join(map(str, several[:3]))}.", hint)
