"""Tables of measurements with a label each, as the R package mlbench holds them; columns are standardised on the training set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from nlbench.sources import rdata
from nlbench.sources.downloads import Debian
from nlbench.sources.source import Arrays, Source, held_out


@dataclass(frozen=True, kw_only=True, eq=False)
class Table(Source):
    """A data frame that R saved: a column of labels, and columns of numbers.

    label   the column of labels, a factor; its levels are the classes, in their order
    train   how many rows, from the first, are the training set; None: a fixed fifth of each class is the test set
    unused  columns that are neither
    """

    label: str
    train: int | None = None
    unused: tuple[str, ...] = ()

    def read(self, data: Path | None = None) -> Arrays:
        ((content,),) = (self.contents(data).values(),)
        columns = rdata.table(content)
        labels = columns[self.label].values.astype(np.int64)
        used = [column.values for name, column in columns.items() if name not in (self.label, *self.unused)]
        inputs = np.stack(used, axis=1).astype(np.float64)
        test = np.arange(len(labels)) >= self.train if self.train else held_out(self.name, labels)
        inputs = ((inputs - inputs[~test].mean(0)) / inputs[~test].std(0)).astype(np.float32)
        return Arrays(inputs[~test], labels[~test], inputs[test], labels[test])


_ORIGIN: Final = "UCI machine learning repository, as the R package mlbench has it"
_LICENCE: Final = "CC BY 4.0 (mlbench: GPL-2)"


def _package(file: str) -> tuple[Debian]:
    return (Debian("r-cran-mlbench", {file: f"/usr/lib/R/site-library/mlbench/data/{file}"}),)


LETTERS: Final = Table(
    name="letters",
    title="Letters: 20,000 printed capitals in 20 fonts as 16 measurements each; the last 4,000 are the test set",
    kind="vector",
    input_shape=(16,),
    n_classes=26,
    files={"LetterRecognition.rda": "967a1a3e10b548d7269cbe50182bcecd6365cc58ea07638bbc34c51f17f34f1d"},
    folder="mlbench",
    suppliers=_package("LetterRecognition.rda"),
    modality="tables",
    origin=f"Slate 1991, {_ORIGIN}",
    licence=_LICENCE,
    label="lettr",
    train=16000,
)

SATELLITE: Final = Table(
    name="satellite",
    title="Statlog satellite: 6,435 patches of a Landsat picture, 36 brightnesses, 6 soils; 2,000 are the test set",
    kind="vector",
    input_shape=(36,),
    n_classes=6,
    files={"Satellite.rda": "29f8cf9bb1bc51b769d694c9caf740fd1c36ed6a7c87603edf5985962e330f64"},
    folder="mlbench",
    suppliers=_package("Satellite.rda"),
    modality="tables",
    origin=f"Srinivasan 1993, {_ORIGIN}",
    licence=_LICENCE,
    label="classes",
    train=4435,
)

SHUTTLE: Final = Table(
    name="shuttle",
    title="Statlog shuttle: 58,000 rows of 9 sensors, 7 states from 45,586 rows to 10; 14,500 are the test set",
    kind="vector",
    input_shape=(9,),
    n_classes=7,
    files={"Shuttle.rda": "5b1db218b76a47c83f575f1ff38d7a7d36e569b0e27d8bf4aa92eae6c0bcb826"},
    folder="mlbench",
    suppliers=_package("Shuttle.rda"),
    modality="tables",
    origin=f"Catlett 1993, {_ORIGIN}",
    licence=_LICENCE,
    label="Class",
    train=43500,
)

VOWEL: Final = Table(
    name="vowel",
    title="Vowels: 990 utterances of 11 English vowels as 9 numbers; the last 7 of 15 speakers are the test set",
    kind="vector",
    input_shape=(9,),
    n_classes=11,
    files={"Vowel.rda": "6577f9ca304153797ec7621d79020b010d160c425da2007639b9e6a2b23fb127"},
    folder="mlbench",
    suppliers=_package("Vowel.rda"),
    modality="tables",
    origin=f"Deterding 1989, {_ORIGIN}",
    licence=_LICENCE,
    label="Class",
    train=528,
    unused=("V1",),
)

VEHICLE: Final = Table(
    name="vehicle",
    title="Statlog vehicles: 846 silhouettes as 18 measurements, 4 kinds; a fixed stratified fifth is the test set",
    kind="vector",
    input_shape=(18,),
    n_classes=4,
    files={"Vehicle.rda": "ea993a1fe72b2611a609101aa6ebee43b6a9dd07c329c9acd1a184ba971a2710"},
    folder="mlbench",
    suppliers=_package("Vehicle.rda"),
    modality="tables",
    origin=f"Siebert 1987, {_ORIGIN}",
    licence=_LICENCE,
    label="Class",
)
