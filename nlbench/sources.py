"""Data sets as arrays, checked against their SHA-256 before use.

MNIST-like sets are read from IDX files (raw or .gz) under `--data`, `NLBENCH_DATA` or the user cache, downloaded through
torchvision on first use; scikit-learn's digits come with that package. Reading the files directly keeps torchvision and
scikit-learn out of a run's start-up; nothing here imports torch.
"""

from __future__ import annotations

import csv
import gzip
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import platformdirs
from numpy.typing import NDArray

from nlbench.errors import DataError
from nlbench.seeds import FIXED, generator
from nlbench.specs import SOURCES, Source

TEST_SHARE = 0.2
"""Share of each class of digits that is the test set; MNIST-like sets bring their own."""


@dataclass(frozen=True, slots=True)
class Arrays:
    """A data set: raw pixels in [0, 1] as float32 (N, *input_shape), labels int64 (N,)."""

    train_inputs: NDArray[np.float32]
    train_labels: NDArray[np.int64]
    test_inputs: NDArray[np.float32]
    test_labels: NDArray[np.int64]


_ahead: Final[dict[tuple[str | Path, ...], Future[Arrays]]] = {}
"""What is being read, by name and files."""


def folders(data: Path | None) -> list[Path]:
    """Return where data sets are looked for, in order: `data` alone if given, else NLBENCH_DATA, then the user cache."""
    if data is not None:
        return [data]
    named = os.environ.get("NLBENCH_DATA")
    return [*([Path(named)] if named else []), Path(platformdirs.user_cache_dir("nlbench"))]


def load(name: str, data: Path | None = None) -> Arrays:
    """Return a declared data set, verified; MNIST-like sets are downloaded if no folder holds them. Raises `DataError`."""
    if name == "digits":
        return _digits()
    reading = _ahead.pop((name, *files(name, data).values()), None)
    return _mnist_like(name, data) if reading is None else reading.result()


@contextmanager
def read_ahead(name: str, data: Path | None = None) -> Iterator[None]:
    """Begin to read a data set for the next `load` of it inside, which raises what there is to raise: unpacking, checking and
    scaling images run beside the import of torch. Digits, read in a moment, and what must be downloaded first are left to `load`.
    """
    found = files(name, data) if name != "digits" else {}
    if found:
        reader = ThreadPoolExecutor(1, "read-ahead")
        _ahead[name, *found.values()] = reader.submit(_mnist_like, name, data)
        reader.shutdown(wait=False)
    try:
        yield
    finally:
        _ahead.pop((name, *found.values()), None)


def files(name: str, data: Path | None = None) -> dict[str, Path]:
    """Return where each file of a data set lies, without reading it; empty if any is missing."""
    if name == "digits":
        return {"digits.csv": _digits_file()}
    source = SOURCES[name]
    for folder in folders(data):
        found = {file: path for file in source.files if (path := _existing(folder / source.folder / file))}
        if len(found) == len(source.files):
            return found
    return {}


def verify(name: str, data: Path | None = None) -> dict[str, Path]:
    """Return the files of a data set after checking every SHA-256. Raises `DataError` naming the file that differs or what is
    missing.
    """
    found = files(name, data)
    if not found:
        raise _missing(name, data, "")
    for file, path in found.items():
        _checked(path, SOURCES[name].files[file])
    return found


def fetch(name: str, data: Path | None = None) -> dict[str, Path]:
    """Return the files of a data set after downloading what is missing into the first folder, and checking it."""
    if not files(name, data):
        _download(name, data)
    return verify(name, data)


def _existing(path: Path) -> Path | None:
    packed = path.with_name(f"{path.name}.gz")
    return path if path.is_file() else packed if packed.is_file() else None


def _checked(path: Path, expected: str) -> bytes:
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}.", "Delete it and run `nlbench data fetch`.") from None
    found = sha256(content).hexdigest()
    if found != expected:
        raise DataError(
            f"{path}: SHA-256 must be {expected[:12]}…, got {found[:12]}….",
            "Delete the file and run `nlbench data fetch`, or point --data elsewhere.",
        )
    return content


def _digits_file() -> Path:
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("digits come with scikit-learn, which is not installed.", "`pip install scikit-learn`.")
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _digits() -> Arrays:
    text = _checked(_digits_file(), SOURCES["digits"].files["digits.csv"]).decode()
    table = np.array(list(csv.reader(text.splitlines())), dtype=np.float32)
    inputs, labels = table[:, :-1].reshape(-1, 1, 8, 8) / 16.0, table[:, -1].astype(np.int64)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        rows = np.flatnonzero(labels == label)
        chosen = generator(FIXED, f"split/digits/{label}").permutation(len(rows))[: round(TEST_SHARE * len(rows))]
        test[rows[chosen]] = True
    return Arrays(inputs[~test], labels[~test], inputs[test], labels[test])


def _mnist_like(name: str, data: Path | None) -> Arrays:
    source = SOURCES[name]
    if not files(name, data):
        _download(name, data)
    found = files(name, data)
    parts = {file: _idx(_checked(path, source.files[file])) for file, path in found.items()}
    train, train_labels, test, test_labels = (parts[file] for file in source.files)
    return Arrays(_pixels(train, source), train_labels.astype(np.int64), _pixels(test, source), test_labels.astype(np.int64))


def _pixels(images: NDArray[np.uint8], source: Source) -> NDArray[np.float32]:
    return np.multiply(images, np.float32(1 / 255), dtype=np.float32).reshape(-1, *source.input_shape)


def _idx(content: bytes) -> NDArray[np.uint8]:
    """Return the array of an IDX file of unsigned bytes: magic 0, 0, 8, rank; then big-endian sizes; then the data."""
    rank = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=rank, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(tuple(int(size) for size in shape))


def _download(name: str, data: Path | None) -> None:
    from torchvision import datasets

    folder = folders(data)[0]
    kind = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}[name]
    try:
        kind(str(folder), download=True)
    except (OSError, RuntimeError, HTTPException) as error:
        reason = str(error).partition("\n")[0][:80] or type(error).__name__
        raise _missing(name, data, f" and downloading it failed ({reason})") from None


def _missing(name: str, data: Path | None, reason: str) -> DataError:
    source = SOURCES[name]
    looked = ", ".join(str(folder / source.folder) for folder in folders(data))
    return DataError(
        f"{name}: not found in {looked}{reason}.",
        f"Put its IDX files into {source.folder}/ of a folder named by --data or NLBENCH_DATA,"
        f" or run `nlbench data fetch {name}` with a network.",
    )
