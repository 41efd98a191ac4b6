"""Data sets that come with an installed package, read from its files without importing it."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np

from nlbench.errors import DataError
from nlbench.seeds import FIXED, generator
from nlbench.sources.source import Arrays, Source, checked

TEST_SHARE: Final = 0.2
"""Share of each class that is the test set of a data set without one of its own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Digits(Source):
    """scikit-learn's digits: a table of pixels from 0 to 16 and, last in a row, the label."""

    def read(self, data: Path | None = None) -> Arrays:
        ((file, path),) = self.locate(data).items()
        text = checked(path, self.files[file]).decode()
        table = np.array(list(csv.reader(text.splitlines())), dtype=np.float32)
        inputs, labels = table[:, :-1].reshape(-1, *self.input_shape) / 16.0, table[:, -1].astype(np.int64)
        test = np.zeros(len(labels), dtype=bool)
        for label in range(self.n_classes):
            rows = np.flatnonzero(labels == label)
            chosen = generator(FIXED, f"split/{self.name}/{label}").permutation(len(rows))[: round(TEST_SHARE * len(rows))]
            test[rows[chosen]] = True
        return Arrays(inputs[~test], labels[~test], inputs[test], labels[test])

    def locate(self, data: Path | None = None) -> dict[str, Path]:
        package = find_spec("sklearn")
        if package is None or package.origin is None:
            raise DataError(f"{self.name} come with scikit-learn, which is not installed.", "`pip install scikit-learn`.")
        (file,) = self.files
        return {file: Path(package.origin).parent / "datasets" / "data" / f"{file}.gz"}


DIGITS: Final = Digits(
    name="digits",
    title="scikit-learn's 8x8 digits: 1,797 images; a fixed stratified fifth of them is the test set",
    kind="image",
    input_shape=(1, 8, 8),
    n_classes=10,
    mean=0.3052348639603616,
    std=0.3761935882412025,
    files={"digits.csv": "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"},
    origin="Alpaydin and Kaynak 1998, UCI machine learning repository: the test set of Optical Recognition of Handwritten Digits",
    licence="CC BY 4.0",
)
