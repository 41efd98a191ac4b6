"""CIFAR-10 and CIFAR-100 in their binary form: no pickle is read. Images stay bytes."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nlbench.errors import DataError
from nlbench.sources.downloads import Web
from nlbench.sources.source import Arrays, Source

PIXELS: Final = 3 * 32 * 32
"""Bytes of an image: red, green, blue, each row by row."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cifar(Source):
    """An archive of files of records: label bytes, of which the last is the class, then the image."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    label_bytes: int

    def read(self, data: Path | None = None) -> Arrays:
        ((content,),) = (self.contents(data).values(),)
        held: dict[str, bytes] = {}
        with tarfile.open(fileobj=BytesIO(content)) as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                if name in (*self.train, *self.test) and (stored := archive.extractfile(member)) is not None:
                    held[name] = stored.read()
        if missing := [name for name in (*self.train, *self.test) if name not in held]:
            raise DataError(f"{self.name}: the archive has no {', '.join(missing)}.")
        train, test = (self._part(b"".join(held[name] for name in names)) for names in (self.train, self.test))
        return Arrays(*train, *test)

    def _part(self, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        records = np.frombuffer(content, np.uint8).reshape(-1, self.label_bytes + PIXELS)
        images = np.ascontiguousarray(records[:, self.label_bytes :]).reshape(-1, *self.input_shape)
        return images, records[:, self.label_bytes - 1].astype(np.int64)


_PLACE: Final = "https://www.cs.toronto.edu/~kriz"
_ORIGIN: Final = "Krizhevsky 2009, cs.toronto.edu/~kriz/cifar.html"
_LICENCE: Final = "none stated; cite the report"

CIFAR10: Final = Cifar(
    name="cifar10",
    title="CIFAR-10: 50,000 + 10,000 photographs of ten kinds of things, 32x32, in colour",
    kind="image",
    input_shape=(3, 32, 32),
    n_classes=10,
    files={"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
    folder="CIFAR",
    suppliers=(Web({"cifar-10-binary.tar.gz": f"{_PLACE}/cifar-10-binary.tar.gz"}),),
    modality="images",
    origin=_ORIGIN,
    licence=_LICENCE,
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test=("test_batch.bin",),
    label_bytes=1,
)
CIFAR100: Final = Cifar(
    name="cifar100",
    title="CIFAR-100: 50,000 + 10,000 photographs of a hundred kinds of things, 32x32, in colour",
    kind="image",
    input_shape=(3, 32, 32),
    n_classes=100,
    files={"cifar-100-binary.tar.gz": "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"},
    folder="CIFAR",
    suppliers=(Web({"cifar-100-binary.tar.gz": f"{_PLACE}/cifar-100-binary.tar.gz"}),),
    modality="images",
    origin=_ORIGIN,
    licence=_LICENCE,
    train=("train.bin",),
    test=("test.bin",),
    label_bytes=2,
)
