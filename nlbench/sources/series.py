"""Time series with a label each, in the text format of the UCR archive (`.ts`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nlbench.errors import DataError
from nlbench.sources.downloads import Wheel
from nlbench.sources.source import Arrays, Source


@dataclass(frozen=True, kw_only=True, eq=False)
class Series(Source):
    """Series of one length; `input_shape` is (steps, channels). `classes` are the labels as the files write them, in the order
    that makes them numbers; `files` are the training and the test set. Channels are standardised on the training set.
    """

    classes: tuple[str, ...]

    def read(self, data: Path | None = None) -> Arrays:
        (train, train_labels), (test, test_labels) = (self._part(content) for content in self.contents(data).values())
        mean, std = train.mean((0, 1)), train.std((0, 1))
        return Arrays(
            ((train - mean) / std).astype(np.float32), train_labels, ((test - mean) / std).astype(np.float32), test_labels
        )

    def _part(self, content: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return (N, steps, channels) and labels: after `@data` a line a series, its channels and its label between colons."""
        lines = content.decode().splitlines()
        start = next(place for place, line in enumerate(lines) if line.strip().lower() == "@data")
        rows = [line.split(":") for line in lines[start + 1 :] if line.strip()]
        try:
            values = np.array([[channel.split(",") for channel in row[:-1]] for row in rows], dtype=np.float64)
            labels = np.array([self.classes.index(row[-1].strip()) for row in rows], dtype=np.int64)
        except ValueError as error:
            raise DataError(
                f"{self.name}: must be series of one length with labels {', '.join(self.classes)}: {error}."
            ) from None
        return values.transpose(0, 2, 1), labels


def _files(name: str, train: str, test: str) -> tuple[dict[str, str], tuple[Wheel]]:
    """Return the files with their checksums, and the wheel that holds them."""
    files = {f"{name}_TRAIN.ts": train, f"{name}_TEST.ts": test}
    place = f"aeon/datasets/data/{name.removesuffix('_eq')}"
    return files, (Wheel("aeon", "1.6.0", {file: f"{place}/{file}" for file in files}),)


_ORIGIN: Final = "the UCR and UEA archive of time series classification, timeseriesclassification.com, as aeon has it"
_LICENCE: Final = "none stated by the archive (aeon: BSD-3)"
_ACSF1: Final = _files(
    "ACSF1",
    "0646b90dc4843e02baed6b2ba345c5601a4991b6796565489cef1b2d92a7537b",
    "93e8aaeb44a10af181d24a156e60da7021193cd990ca28f263fccf3b905bfebf",
)
_VOWELS: Final = _files(
    "JapaneseVowels_eq",
    "8958279c6296b97c8e34038346407935222db171492b84dffa3b930d087bc2d6",
    "bb83bb1aa6bfb17faae269f6829b7cac71de36fdd3264ee34137fe90270d5895",
)
_GESTURES: Final = _files(
    "PickupGestureWiimoteZ_eq",
    "b4963f9491f3c5db60ee20a11fedaab5badc476c5086e7592014b64dcf46571b",
    "982ae7fe7613cf7f4e8e5e7e06b014ae12c6efdc3d59f08abb28f78068b7a66c",
)
_LEAVES: Final = _files(
    "OSULeaf",
    "86b9d6e860414ffd26cebc62fff84ffb37fa588ef3e5bf79e4094a437c36ddfc",
    "6c549dd354f9e42d5985fa5fab75321ca9acefc7873457e71467fc8a31f107ce",
)
_MOTIONS: Final = _files(
    "BasicMotions",
    "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
    "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
)

APPLIANCES: Final = Series(
    name="appliances",
    title="ACSF1: 200 electric appliances of 10 kinds, the power they draw over 1,460 steps",
    kind="sequence",
    input_shape=(1460, 1),
    n_classes=10,
    files=_ACSF1[0],
    folder="aeon",
    suppliers=_ACSF1[1],
    modality="series",
    origin=f"Gisler 2013, {_ORIGIN}",
    licence=_LICENCE,
    classes=tuple("0123456789"),
)

SPEAKERS: Final = Series(
    name="speakers",
    title="Japanese vowels: 640 utterances of 9 speakers, 12 coefficients over 25 steps",
    kind="sequence",
    input_shape=(25, 12),
    n_classes=9,
    files=_VOWELS[0],
    folder="aeon",
    suppliers=_VOWELS[1],
    modality="series",
    origin=f"Kudo 1999, {_ORIGIN}",
    licence=_LICENCE,
    classes=tuple("123456789"),
)

GESTURES: Final = Series(
    name="gestures",
    title="Pickup gestures: 100 of 10 kinds, the upward acceleration of a hand over 361 steps",
    kind="sequence",
    input_shape=(361, 1),
    n_classes=10,
    files=_GESTURES[0],
    folder="aeon",
    suppliers=_GESTURES[1],
    modality="series",
    origin=f"Guna 2014, {_ORIGIN}",
    licence=_LICENCE,
    classes=(*"123456789", "10"),
)

LEAVES: Final = Series(
    name="leaves",
    title="OSU leaves: 442 outlines of 6 trees' leaves over 427 steps",
    kind="sequence",
    input_shape=(427, 1),
    n_classes=6,
    files=_LEAVES[0],
    folder="aeon",
    suppliers=_LEAVES[1],
    modality="series",
    origin=f"Gandhi 2002, {_ORIGIN}",
    licence=_LICENCE,
    classes=tuple("123456"),
)

MOTIONS: Final = Series(
    name="motions",
    title="Basic motions: 80 of 4 kinds, acceleration and turning of a wrist, 6 channels over 100 steps",
    kind="sequence",
    input_shape=(100, 6),
    n_classes=4,
    files=_MOTIONS[0],
    folder="aeon",
    suppliers=_MOTIONS[1],
    modality="series",
    origin=f"Clements 2016, {_ORIGIN}",
    licence=_LICENCE,
    classes=("Standing", "Walking", "Running", "Badminton"),
)
