"""A user's own data files as sources: what a stream's `source = "./file"` names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nlbench.errors import DataError
from nlbench.sources import formats
from nlbench.sources.columns import Opened, refuse_bytes_among_numbers, refuse_shapes, settable
from nlbench.sources.in_memory import MOST_CLASSES, InMemory, TaskArrays
from nlbench.sources.source import Arrays, Source, held_out
from nlbench.specs.names import called
from nlbench.specs.reading import Reading

FORMATS: Final[dict[str, Callable[[Path, Reading, formats.Columns], Opened]]] = {
    ".npz": formats.arrays,
    ".npy": formats.arrays,
    ".parquet": formats.parquet,
    ".csv": formats.csv,
    ".jsonl": formats.lines,
    ".arrow": formats.arrow,
    ".png": formats.images,
}
"""Of a file by its name's end; of a folder by that of its files."""


@dataclass(frozen=True, kw_only=True, eq=False)
class FileSource(Source):
    """A data file that has been looked at: labels are numbered in their order, and a sample is what a row holds beside them."""

    paths: tuple[Path, ...]
    stamps: tuple[tuple[int, int], ...]
    reading: Reading
    opened: tuple[Opened, ...]
    labels: NDArray[np.int64]
    tasks: NDArray[np.int64] | None
    """The number of each row's task, from 1, where the file says it."""
    test: NDArray[np.bool_]

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process opens the file anew."""
        return _opened, (self.paths, self.reading, self.stamps)

    @property
    def n_tasks(self) -> int:
        """How many tasks the file says; 1 if it says none."""
        return 1 if self.tasks is None else int(self.tasks.max())

    def read(self, data: Path | None = None) -> Arrays:
        if _stamps(self.paths) != self.stamps:
            raise DataError(f"{self.paths[0]}: has changed since the run was planned.", "Run it again.")
        if mapped := self._mapped():
            return mapped
        shape, test = self.input_shape, self.test
        parts = {True: np.empty((test.sum(), *shape), np.float32), False: np.empty((len(test) - test.sum(), *shape), np.float32)}
        places = np.where(test, test.cumsum(), (~test).cumsum()) - 1
        shift = np.full(self.input_shape if self._by_place() else 1, np.nan)
        for first, left, block in self._blocks(shift):
            rows, numbers = slice(first, first + len(block)), slice(left, left + block.shape[-1])
            for part, chosen in ((True, test[rows]), (False, ~test[rows])):
                if chosen.any():
                    own = places[rows][chosen]
                    parts[part][own[0] : own[-1] + 1, ..., numbers] = block[chosen]
        pa.default_memory_pool().release_unused()
        scale = _standardise(parts[False], parts[True], self._standard())
        if scale is not None:
            np.add(scale[0], shift, out=scale[0])
        return Arrays(parts[False], self.labels[~test], parts[True], self.labels[test], scale)

    def in_memory(self, data: Path | None = None) -> InMemory:
        """Return the tasks that the file says. Raises `DataError` if it says none, or leaves one without samples."""
        if self.tasks is None:
            raise DataError(
                f"{self.paths[0]}: says no tasks.", "Name their column as [stream.read] tasks, or cut it as kind split."
            )
        arrays, train, test = self.read(data), self.tasks[~self.test], self.tasks[self.test]
        parts: list[TaskArrays] = []
        for task in range(1, self.n_tasks + 1):
            own, judged = train == task, test == task
            if not own.any() or not judged.any():
                raise DataError(f"{self.paths[0]}: task {task} must have training and test samples.")
            parts.append(
                (arrays.train_inputs[own], arrays.train_labels[own], arrays.test_inputs[judged], arrays.test_labels[judged])
            )
        return InMemory(
            name=self.name,
            title=self.title,
            kind=self.kind,
            input_shape=self.input_shape,
            n_classes=self.n_classes,
            tasks=tuple(parts),
            scale=arrays.scale,
        )

    @property
    def label_names(self) -> tuple[str, ...]:
        """The words or numbers of the file that labels are."""
        names = tuple(map(str, np.unique(formats.joined([each.labels for each in self.opened])).tolist()))
        return () if names == tuple(map(str, range(self.n_classes))) else names

    @property
    def remarks(self) -> tuple[str, ...]:
        """Which columns may do no more than tell rows apart, which are not shown, and which classes are only tested."""
        return (*self._of_ids(), *self._of_columns(), *self._of_classes())

    def _of_columns(self) -> Iterator[str]:
        if beside := self.opened[0].beside:
            left_out = ", ".join(map(repr, beside))
            yield f"{self.paths[0]}: beside {self.opened[0].columns[0]!r} these are not shown to the learner: {left_out}."

    def _of_classes(self) -> Iterator[str]:
        unknown = np.setdiff1d(self.labels[self.test], self.labels[~self.test]).tolist()
        if unknown:
            names = self.label_names or tuple(map(str, range(self.n_classes)))
            said = ", ".join(names[label] for label in unknown[:5]) + (", …" if len(unknown) > 5 else "")
            yield f"{self.paths[0]}: only test rows are labelled {said}: nobody can have those right."

    def _of_ids(self) -> tuple[str, ...]:
        ids = self.opened[0].ids
        if not ids:
            return ()
        several, listed = len(ids) > 1, json.dumps(list(ids), ensure_ascii=False)
        what, tells, out = ("columns", "they only tell", "them") if several else ("column", "it only tells", "it")
        shown = f"{what} {', '.join(map(repr, ids))} {'are' if several else 'is'} shown to the learner"
        way = f"unused = {listed} in [stream.read], or --set stream.read.unused={settable(ids)}"
        return (f"{self.paths[0]}: {shown}; if {tells} rows apart, leave {out} out: {way}.",)

    def locate(self, data: Path | None = None) -> dict[str, Path]:
        return dict(zip(_keys(self.paths), self.paths, strict=True))

    def verify(self, data: Path | None = None) -> dict[str, Path]:
        return self.locate(data)

    def _standard(self) -> str:
        return self.reading.standardise or ("all" if self.kind == "image" else "each")

    def _mapped(self) -> Arrays | None:
        """Return views of a folder's .npy files where nothing has to be done to them: they may exceed the memory."""
        names = ("train_inputs", "test_inputs")
        files = [self.paths[0] / f"{name}.npy" for name in names]
        if self._standard() != "none" or not all(file.is_file() for file in files):
            return None
        train, test = (np.load(file, mmap_mode="c") for file in files)
        if train.dtype != np.float32 or train.shape[1:] != self.input_shape:
            return None
        first = 0
        for block in (*_chunks(train), *_chunks(test)):
            _check_finite(self.opened[0], block, first, 0)
            first += len(block)
        return Arrays(train, self.labels[~self.test], test, self.labels[self.test])

    def _by_place(self) -> bool:
        """Return whether each number of a sample is standardised by itself."""
        return self._standard() == "each" and self.kind != "image"

    def _blocks(self, shift: NDArray[np.float64]) -> Iterator[tuple[int, int, NDArray[Any]]]:
        """Yield blocks of numbers, less `shift`, each behind the row and the place in the last axis where it begins. `shift` is
        found on the way, as `_shifted` says.
        """
        start, types = 0, set[np.dtype[Any]]()
        for path, each in zip(self.paths, self.opened, strict=True):
            left = 0
            for part in each.parts:
                row, width, shapes = start, 0, set[tuple[int, ...]]()
                with _readable(path):
                    for block in filter(len, part()):
                        types.add(block.dtype)
                        refuse_bytes_among_numbers(path, types)
                        shapes.add(block.shape[1:])
                        refuse_shapes(path, shapes)
                        width = block.shape[-1]
                        _check_finite(each, _as_floats(block), row - start, left)
                        shown = _as_floats(_laid_out(self._shifted(block, shift, left), self.reading, self.kind == "image"))
                        yield row, left, shown
                        row += len(block)
                left += width
            start += len(each.labels)

    def _shifted(self, block: NDArray[Any], shift: NDArray[np.float64], left: int) -> NDArray[Any]:
        """Return numbers that float32 may not hold by their distance from the first block's mean, in float64: standardised, they
        are what they would be. `shift` is that mean, of each place or of all; NaN where no block was yet, 0 where the first one
        holds no more than float32 does.
        """
        if self._standard() == "none":
            return block
        by_place = self._by_place()
        own = shift[..., left : left + block.shape[-1]] if by_place else shift
        if np.isnan(own).any():
            exact = block.dtype.itemsize < 4 or block.dtype == np.float32
            own[...] = 0.0 if exact else block.mean(0 if by_place else None, dtype=np.float64)
        return np.subtract(block, own, dtype=np.float64) if own.any() else block


def _check_finite(file: Opened, block: NDArray[np.float32], first: int, left: int) -> None:
    """Raise `DataError` for a number that is not finite in a block of a file, which begins at this row and this place in the
    last axis, both from 0.
    """
    finite = np.isfinite(block)
    if not finite.all():
        assert file.fault is not None
        row, *_, place = np.argwhere(~finite)[0].tolist()
        raise file.fault(first + row, left + place)


def opened(name: str, reading: Reading | None) -> FileSource:
    """Return a data file as a source: its labels read, its bytes hashed, its samples not yet read. Raises `DataError`."""
    reading = reading or Reading()
    paths = (Path(name), *([Path(reading.test)] if reading.test else []))
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: there is no such file.", "`nlbench list extensions` shows the data sets that have a name.")
    return _opened(paths, reading, _stamps(paths))


@lru_cache(maxsize=8)
def _opened(paths: tuple[Path, ...], reading: Reading, stamps: tuple[tuple[int, int], ...]) -> FileSource:
    first = _looked_at(paths[0], reading)
    found = (first, *(_looked_at(path, reading, first.columns or None) for path in paths[1:]))
    if len(found) == 2:
        _refuse_a_second_split(paths, found)
    if len({each.shape for each in found}) > 1:
        raise DataError(f"{paths[1]}: rows must be like those of {paths[0]}, got {found[1].shape} and {found[0].shape}.")
    if empty := [path for path, each in zip(paths, found, strict=True) if not len(each.labels)]:
        raise DataError(f"{empty[0]}: holds no rows.")
    labels = _numbered(paths[0], "labels", formats.joined([each.labels for each in found]))
    if not labels.any():
        only = found[0].labels[:1].tolist()[0]
        raise DataError(f"{paths[0]}: must have two different labels at least, got {only!r} in every row.")
    said = [each.tasks for each in found]
    known = [tasks for tasks in said if tasks is not None]
    tasks = 1 + _numbered(paths[0], "tasks", formats.joined(known)) if len(known) == len(said) else None
    name = called(str(paths[0]))
    if len(paths) == 2:
        test = np.arange(len(labels)) >= len(found[0].labels)
    else:
        test = held_out("file", labels) if first.test is None else first.test
    if not test.any() or test.all():
        hint = (
            "Give each class at least three rows, of which a fixed fifth is the test set, or name a file as [stream.read] test."
        )
        if first.test is not None:
            hint = 'The test set is test_inputs of arrays, and of a column `split` the rows that say "test" or "validation".'
        raise DataError(f"{paths[0]}: needs training and test samples, got {np.sum(~test)} and {np.sum(test)}.", hint)
    return FileSource(
        name=name,
        title=f"{name}: {np.sum(~test):,} + {np.sum(test):,} samples of a file",
        kind=first.kind,
        input_shape=_laid_out(np.empty((0, *first.shape)), reading, first.kind == "image").shape[1:],
        n_classes=int(labels.max()) + 1,
        files={
            (Path(key) / file.relative_to(path)).as_posix(): _hash(file)
            for key, path in zip(_keys(paths), paths, strict=True)
            for file in _files(path)
        },
        paths=paths,
        stamps=stamps,
        reading=reading,
        opened=found,
        labels=labels,
        tasks=tasks,
        test=test,
    )


def _keys(paths: Sequence[Path]) -> list[str]:
    """Return the name of each file: of a test file that has the training file's, with `test` before it."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [names[0], f"test/{names[1]}"]


def _refuse_a_second_split(paths: Sequence[Path], found: Sequence[Opened]) -> None:
    """Refuse a test file where rows of the first are of a test set, or its own are not."""
    for path, each, odd in zip(paths, found, (True, False), strict=True):
        if each.test is not None and (each.test == odd).any():
            of = "test" if odd else "training"
            hint = "Leave out [stream.read] test, or the rows."
            raise DataError(f"{path}: says that rows are of the {of} set, which stream.read.test says of whole files.", hint)


def _looked_at(path: Path, reading: Reading, like: formats.Columns = None) -> Opened:
    with _readable(path):
        return _format(path)(path, reading, like)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Name the file that cannot be read as what its name says."""
    try:
        yield
    except (pa.ArrowException, BadZipFile, EOFError, OSError, OverflowError, ValueError) as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read: {why.rstrip('.')}.") from None


def _format(path: Path) -> Callable[[Path, Reading, formats.Columns], Opened]:
    if path.is_file():
        suffix = path.suffix.lower()
    else:
        ends = {file.suffix.lower() for file in _files(path)}
        suffix = ".png" if ends & formats.IMAGES else next((end for end in (".npy", ".arrow") if end in ends), "")
    if suffix not in FORMATS or (suffix == ".npy" and path.is_file()):
        known = "a file .npz, .parquet, .csv or .jsonl, or a folder of images, of .npy or of .arrow files"
        raise DataError(f"{path}: must be {known}.", "A function that returns arrays is named as ./file.py:function.")
    return FORMATS[suffix]


def _numbered(path: Path, what: str, values: NDArray[Any]) -> NDArray[np.int64]:
    """Return (N,): the place of each value among those there are, in order; `what` they are stands in errors."""
    if values.ndim > 1 or values.dtype.kind not in "biufSUO":
        raise DataError(f"{path}: {what} must be whole numbers or words, got an array {values.shape} of {values.dtype}.")
    if values.dtype.kind == "f":
        odd = values[~(np.isfinite(values) & (values == np.rint(values)))]
        if len(odd):
            raise DataError(f"{path}: {what} must be whole numbers or words, got {odd[0]}.")
    if values.dtype.kind in "OU" and len(missing := np.flatnonzero([value is None or value == "" for value in values])):
        raise DataError(f"{path}: row {missing[0] + 1} has no {what[:-1]}.", "Fill it in, or leave that row out.")
    if values.dtype.kind == "O" and len({isinstance(value, str) for value in values}) > 1:
        word, number = (next(value for value in values if isinstance(value, str) == wanted) for wanted in (True, False))
        raise DataError(f"{path}: {what} must be all words or all whole numbers, got {word!r} and {number!r}.")
    known, numbers = np.unique(values, return_inverse=True)
    if len(known) > MOST_CLASSES:
        raise DataError(f"{path}: must have at most {MOST_CLASSES} different {what}, got {len(known)}.")
    return numbers.reshape(-1).astype(np.int64)


def _as_floats(block: NDArray[Any]) -> NDArray[np.float32]:
    """Return float32, of bytes their share of 255."""
    if block.dtype == np.uint8:
        return np.multiply(block, np.float32(1 / 255), dtype=np.float32)
    with np.errstate(over="ignore"):
        return block.astype(np.float32, copy=False)


def _laid_out(block: NDArray[Any], reading: Reading, image: bool) -> NDArray[Any]:
    """Return images (m, channels, height, width); all else as it is."""
    if not image:
        return block
    if block.ndim == 3:
        return block[:, None]
    channels = [block.shape[axis] in (1, 3, 4) for axis in (1, -1)]
    last = channels == [False, True] if reading.layout is None else reading.layout == "NHWC"
    return np.moveaxis(block, -1, 1) if last else block


def _standardise(
    train: NDArray[np.float32], test: NDArray[np.float32], how: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the training set's mean and deviation, by which both are standardised in place; what never varies is left at 0."""
    if how == "none":
        return None
    axes = tuple(range(train.ndim)) if how == "all" else (0, *range(2, train.ndim)) if train.ndim == 4 else (0,)
    mean = train.mean(axes, dtype=np.float64, keepdims=True)
    square = sum(np.square(part - mean).sum(axes, keepdims=True) for part in _chunks(train))
    deviation = np.sqrt(square / (train.size / mean.size))
    deviation[deviation == 0] = 1.0
    for part in (*_chunks(train), *_chunks(test)):
        np.subtract(part, mean, out=part, casting="same_kind")
        np.divide(part, deviation, out=part, casting="same_kind")
    return mean, deviation


def _chunks(values: NDArray[np.float32]) -> Iterable[NDArray[np.float32]]:
    return (values[first : first + formats.BLOCK] for first in range(0, len(values), formats.BLOCK))


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _stamps(paths: Iterable[Path]) -> tuple[tuple[int, int], ...]:
    """Return when each file was last written, and its size: by these a change is seen."""
    found = [file.stat() for path in paths for file in _files(path)]
    return tuple((each.st_mtime_ns, each.st_size) for each in found)
