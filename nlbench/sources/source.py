"""The base of every data set: what is known of it, where its files are looked for and how they are checked against their SHA-256
before use; and what is read, beforehand where the files are there.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from nlbench import cache
from nlbench.errors import DataError
from nlbench.seeds import FIXED, generator
from nlbench.sources.downloads import Supplier, UnavailableError
from nlbench.specs import digest

Modality = Literal["images", "text", "tables", "series", "symbols"]


@dataclass(frozen=True, slots=True)
class Arrays:
    """A data set: inputs (N, *input_shape) as float32, raw pixels in [0, 1] where they are images, or images as bytes; labels
    int64 (N,) from 0.
    """

    train_inputs: NDArray[Any]
    train_labels: NDArray[np.int64]
    test_inputs: NDArray[Any]
    test_labels: NDArray[np.int64]
    scale: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    """The mean and the deviation by which inputs were standardised when they were read; None where they are raw."""

    def raw(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the train and test inputs before they were standardised, made in their own memory."""
        if self.scale is not None:
            mean, std = self.scale
            for inputs in (self.train_inputs, self.test_inputs):
                np.multiply(inputs, std, out=inputs, casting="same_kind")
                np.add(inputs, mean, out=inputs, casting="same_kind")
        return self.train_inputs, self.test_inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class Source:
    """A data set as declared; a subclass says how it is read, and how it is fetched where it can be.

    mean, std  of all numbers of the training set's inputs as they are read: streams show (input - mean) / std; by default nothing
               is changed. Bytes are shown by their own channels' mean and deviation in the training set
    files      by path inside `folder`, the SHA-256 of the bytes; a file may also lie there packed, as `<file>.gz`
    folder     where the files lie in a folder of data sets
    suppliers  where they are had if they lie in none, tried in order
    """

    name: str
    title: str
    kind: Literal["image", "vector", "sequence", "features"]
    """What a sample is."""
    input_shape: tuple[int, ...]
    n_classes: int
    mean: float = 0.0
    std: float = 1.0
    files: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""
    suppliers: tuple[Supplier, ...] = ()
    modality: Modality | None = None
    """What it is about."""
    origin: str = ""
    """Who made it, and where it is published."""
    licence: str = ""

    @property
    def checksum(self) -> str:
        """One digest over all file checksums."""
        return digest(dict(self.files))

    @property
    def label_names(self) -> tuple[str, ...]:
        """What each label stands for, in their order, where it is called otherwise than by its number."""
        return ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What there is to say of it to who cuts a stream from it."""
        return ()

    def read(self, data: Path | None = None) -> Arrays:
        """Return the whole data set, its files verified and fetched first where that is possible. The arrays are the caller's to
        change. Raises `DataError` if it cannot be had.
        """
        raise NotImplementedError

    def contents(self, data: Path | None = None) -> dict[str, bytes]:
        """Return the content of each file, verified, after bringing the files if they lie nowhere. Raises `DataError`."""
        found = self._had(data)
        return {file: _content(file, path, expected) for (file, expected), path in zip(self.files.items(), found, strict=True)}

    def fetch(self, data: Path | None = None) -> dict[str, Path]:
        """Return the files after getting what is missing, and checking all. Raises `DataError` if they cannot be had."""
        self._had(data)
        return self.verify(data)

    def locate(self, data: Path | None = None) -> dict[str, Path]:
        """Return where each file lies, in a folder of data sets or an installed package; empty if any is missing. Reads none."""
        for folder in folders(data):
            found = {file: path for file in self.files if (path := _existing(folder / self.folder / file))}
            if len(found) == len(self.files):
                return found
        installed: dict[str, Path] = {}
        for supplier in self.suppliers:
            installed |= supplier.installed()
        found = {file: path for file in self.files if (path := _held(file, installed))}
        return found if len(found) == len(self.files) else {}

    def verify(self, data: Path | None = None) -> dict[str, Path]:
        """Return where each file lies after checking every SHA-256. Raises `DataError` naming the file that differs, or what is
        missing.
        """
        found = self.locate(data)
        if self.files and not found:
            raise self.missing(data)
        for file, path in found.items():
            _content(file, path, self.files[file])
        return found

    def missing(self, data: Path | None, reason: str = "") -> DataError:
        """Return the error of a data set that no folder holds."""
        looked = ", ".join(str(folder / self.folder) for folder in folders(data)) or "any folder: there is no home"
        fetched = f", or run `nlbench data fetch {self.name}` with a network" if self.suppliers else ""
        return DataError(
            f"{self.name}: not found in {looked}{reason}.",
            f"Put {', '.join(self.files)} into {self.folder}/ of a folder named by --data or NLBENCH_DATA{fetched}.",
        )

    def _had(self, data: Path | None) -> list[Path]:
        """Return where the files lie, brought into the first folder that can be written if no folder holds them all."""
        found = self.locate(data)
        if self.files and not found:
            self._bring(data)
            found = self.locate(data)
        return list(found.values())

    def _bring(self, data: Path | None) -> None:
        known = folders(data)
        root, reasons = next(filter(_writable, known), known[0] if known else None), []
        for supplier in self.suppliers if root is not None else ():
            assert root is not None
            try:
                with _beside(root) as beside:
                    supplier.bring(beside)
                    self._place(beside, root / self.folder)
                return
            except (UnavailableError, OSError, EOFError, zlib.error) as error:
                reasons.append(f"{supplier.way}: {str(error).strip()}")
        raise self.missing(data, f", and downloading it failed ({'; '.join(reasons)})" if reasons else "")

    def _place(self, beside: Path, place: Path) -> None:
        """Move what was brought to where it belongs, once all of it is as it should be."""
        brought = {path.name: path for path in beside.rglob("*") if path.is_file()}
        chosen = {file: _held(file, brought) for file in self.files}
        for file, path in chosen.items():
            if path is None:
                raise UnavailableError(f"it brought no {file}")
            if (found := sha256(_unpacked(file, path)).hexdigest()) != self.files[file]:
                raise UnavailableError(f"the SHA-256 of {file} must be {self.files[file][:12]}…, got {found[:12]}…")
        place.mkdir(parents=True, exist_ok=True)
        for path in filter(None, chosen.values()):
            os.replace(path, place / path.name)


TEST_SHARE: Final = 0.2
"""Share of each class that is the test set of a data set without one of its own."""


def held_out(name: str, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (N,): which samples of the data set `name` are its test set, a fixed fifth of each class."""
    test = np.zeros(len(labels), dtype=bool)
    for label in range(labels.max() + 1):
        rows = np.flatnonzero(labels == label)
        chosen = generator(FIXED, f"split/{name}/{label}").permutation(len(rows))[: round(TEST_SHARE * len(rows))]
        test[rows[chosen]] = True
    return test


_ahead: Final[dict[tuple[Source, *tuple[Path, ...]], Future[Arrays]]] = {}
"""What is being read, by source and files."""


_kept: Final[dict[tuple[object, ...] | None, Arrays]] = {}
"""The data set that was read last, by what it is, its files and when they changed; nothing unless `keep_last` asks for it."""
_keeping = False


def keep_last() -> None:
    """Have this process keep the data set that it read last, at the cost of its memory: a worker reads the same again and again.
    Whoever reads it gets a copy.
    """
    global _keeping
    _keeping = True


def read(source: Source, data: Path | None = None) -> Arrays:
    """Return a data set as it was read ahead, or kept, or else read now; checked for shape and labels. Raises `DataError`."""
    located = source.locate(data)
    stamp = _stamp(source, located)
    if stamp in _kept:
        return _copied(_kept[stamp])
    reading = _ahead.pop((source, *located.values()), None)
    arrays = _checked(source, source.read(data) if reading is None else reading.result())
    if stamp is not None:
        _kept.clear()
        _kept[stamp] = _copied(arrays)
    return arrays


def _stamp(source: Source, located: Mapping[str, Path]) -> tuple[object, ...] | None:
    """Return what tells a data set from every other, None where it is not to be kept, or holds what cannot be compared."""
    if not _keeping or not located:
        return None
    files = ((path, path.stat().st_mtime_ns, path.stat().st_size) for path in located.values())
    try:
        return _facts(source), *files
    except TypeError:
        return None


def _facts(value: object) -> object:
    """Return a key of a plain value, or of an object that holds plain values. Raises `TypeError` for what is none."""
    if value is None or isinstance(value, str | int | float | Path):
        return type(value), value
    if isinstance(value, tuple):
        return type(value), *map(_facts, value)
    held = value if isinstance(value, Mapping) else vars(value)
    return type(value), *((name, _facts(each)) for name, each in held.items())


def _copied(arrays: Arrays) -> Arrays:
    return Arrays(
        arrays.train_inputs.copy(), arrays.train_labels.copy(), arrays.test_inputs.copy(), arrays.test_labels.copy(), arrays.scale
    )


def _checked(source: Source, arrays: Arrays) -> Arrays:
    for part, inputs, labels in (
        ("train", arrays.train_inputs, arrays.train_labels),
        ("test", arrays.test_inputs, arrays.test_labels),
    ):
        kinds = (np.float32, np.uint8) if len(source.input_shape) == 3 else (np.float32,)
        if inputs.shape != (len(labels), *source.input_shape) or inputs.dtype not in kinds:
            shape = f"(N, {', '.join(map(str, source.input_shape))})"
            raise DataError(f"{source.name}: {part} inputs must be float32 {shape}, got {inputs.dtype} {inputs.shape}.")
        if labels.dtype != np.int64 or len(labels) == 0 or labels.min() < 0 or labels.max() >= source.n_classes:
            raise DataError(f"{source.name}: {part} labels must be int64 from 0 to {source.n_classes - 1}.")
    return arrays


def class_means(source: Source, arrays: Arrays) -> NDArray[np.float64]:
    """Return (C, d): the mean training sample of each class. Raises `DataError` naming a class that has none."""
    counts = np.bincount(arrays.train_labels, minlength=source.n_classes)
    if not counts.all():
        label = int(counts.argmin())
        called = source.label_names[label] if source.label_names else label
        raise DataError(
            f"{source.name}: each class must have training samples for classes to be compared, got none of class {called}.",
            'Leave that class out, or say class_order = "natural" or a list.',
        )
    samples = arrays.train_inputs.reshape(len(arrays.train_inputs), -1)
    return np.stack([samples[arrays.train_labels == label].mean(0, dtype=np.float64) for label in range(source.n_classes)])


@contextmanager
def read_ahead(source: Source, data: Path | None = None) -> Iterator[None]:
    """Begin to read a data set for the next `read` of it inside, which raises what there is to raise: unpacking, checking and
    scaling images run beside the import of torch. What has no files in a folder of data sets, or lacks them, is left to `read`.
    """
    found = source.locate(data) if source.folder else {}
    if _stamp(source, found) in _kept:
        found = {}
    key: tuple[Source, *tuple[Path, ...]] = (source, *found.values())
    if found:
        reader = ThreadPoolExecutor(1, "read-ahead")
        _ahead[key] = reader.submit(source.read, data)
        reader.shutdown(wait=False)
    try:
        yield
    finally:
        _ahead.pop(key, None)


def folders(data: Path | None) -> list[Path]:
    """Return where data sets are looked for, in order: `data` alone if given, else NLBENCH_DATA, then the user cache."""
    if data is not None:
        return [data]
    named = os.environ.get("NLBENCH_DATA")
    own = cache.folder()
    return [*([Path(named)] if named else []), *([own] if own else [])]


def _writable(folder: Path) -> bool:
    """Return whether files may be put into a folder, which may be missing yet."""
    return os.access(next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()), os.W_OK)


@contextmanager
def _beside(root: Path) -> Iterator[Path]:
    """Give a folder for what is being brought, on the file system of `root`; neither it nor an empty `root` is left behind."""
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root, prefix=".download-") as beside:
            yield Path(beside)
    finally:
        for folder in made:
            with suppress(OSError):  # it holds what was brought
                folder.rmdir()


def _content(file: str, path: Path, expected: str) -> bytes:
    """Return what `file` holds, from where it lies. Raises `DataError` if it cannot be read or has another SHA-256."""
    try:
        content = _unpacked(file, path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}.", "Delete it and run `nlbench data fetch`.") from None
    found = sha256(content).hexdigest()
    if found != expected:
        raise DataError(
            f"{path}: SHA-256 must be {expected[:12]}…, got {found[:12]}….",
            "Delete the file and run `nlbench data fetch`, or point --data elsewhere.",
        )
    return content


def _unpacked(file: str, path: Path) -> bytes:
    """Return the bytes of `file`, which may lie packed under a name of its own."""
    packed = path.suffix == ".gz" and not file.endswith(".gz")
    return gzip.decompress(path.read_bytes()) if packed else path.read_bytes()


def _existing(path: Path) -> Path | None:
    return _held(path.name, {each.name: each for each in (path, path.with_name(f"{path.name}.gz")) if each.is_file()})


def _held(file: str, among: Mapping[str, Path]) -> Path | None:
    """Return the file of this name, or the packed one."""
    return among.get(file) or among.get(f"{file}.gz")
