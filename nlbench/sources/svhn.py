"""House numbers seen from the street, in MATLAB's files. Images stay bytes."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from nlbench.sources.downloads import Web
from nlbench.sources.source import Arrays, Source


@dataclass(frozen=True, kw_only=True, eq=False)
class Svhn(Source):
    """Two files, the training and the test set: X (h, w, channels, N) and y (N, 1), where 10 stands for the digit 0."""

    def read(self, data: Path | None = None) -> Arrays:
        train, test = (_part(content) for content in self.contents(data).values())
        return Arrays(*train, *test)


def _part(content: bytes) -> tuple[NDArray[Any], NDArray[np.int64]]:
    from scipy.io import loadmat

    held = loadmat(BytesIO(content), variable_names=("X", "y"))
    return np.ascontiguousarray(held["X"].transpose(3, 2, 0, 1)), held["y"].ravel().astype(np.int64) % 10


_PLACE: Final = "http://ufldl.stanford.edu/housenumbers"

SVHN: Final = Svhn(
    name="svhn",
    title="SVHN: 73,257 + 26,032 digits of house numbers, 32x32, in colour",
    kind="image",
    input_shape=(3, 32, 32),
    n_classes=10,
    files={
        "train_32x32.mat": "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
        "test_32x32.mat": "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
    },
    folder="SVHN",
    suppliers=(Web({file: f"{_PLACE}/{file}" for file in ("train_32x32.mat", "test_32x32.mat")}),),
    modality="images",
    origin="Netzer et al. 2011, ufldl.stanford.edu/housenumbers",
    licence="for non-commercial use only",
)
