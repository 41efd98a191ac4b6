"""Tiny ImageNet and CORe50: photographs in an archive, a file each; decoded once and kept in the cache. Images stay bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from nlbench.errors import DataError
from nlbench.sources.derived import kept
from nlbench.sources.downloads import Web
from nlbench.sources.source import Arrays, Source
from nlbench.specs import digest

Photograph = tuple[str, int, bool]
"""A member of the archive, the label, and whether it is of the test set."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ZippedImages(Source):
    """An archive of photographs, brought to one size: `input_shape`, by averaging where they are larger."""

    def read(self, data: Path | None = None) -> Arrays:
        path = self._archive(data)
        facts = {"files": self.checksum, "code": sha256(Path(__file__).read_bytes()).hexdigest()}
        made = kept(facts, lambda: self._decoded(path))
        return Arrays(made["train"], made["train_labels"], made["test"], made["test_labels"])

    def photographs(self, archive: ZipFile) -> Iterator[Photograph]:
        """Yield what the archive holds."""
        raise NotImplementedError

    def _archive(self, data: Path | None) -> Path:
        (path,) = self.fetch(data).values()
        return path

    def _decoded(self, path: Path) -> dict[str, NDArray[Any]]:
        with ZipFile(path) as archive:
            found = sorted(self.photographs(archive), key=lambda one: one[2])
            images = np.empty((len(found), *self.input_shape), np.uint8)
            for row, (member, _, _) in enumerate(found):
                images[row] = _image(archive.read(member), *self.input_shape[1:])
        labels = np.array([label for _, label, _ in found], dtype=np.int64)
        cut = sum(not test for *_, test in found)
        return {"train": images[:cut], "train_labels": labels[:cut], "test": images[cut:], "test_labels": labels[cut:]}


@dataclass(frozen=True, kw_only=True, eq=False)
class TinyImagenet(ZippedImages):
    """Classes by the name of their synset, sorted; the validation set, whose labels are known, is the test set."""

    def photographs(self, archive: ZipFile) -> Iterator[Photograph]:
        root = "tiny-imagenet-200"
        classes = sorted(archive.read(f"{root}/wnids.txt").decode().split())
        for member in archive.namelist():
            if found := re.fullmatch(rf"{root}/train/(\w+)/images/[^/]+", member):
                yield member, classes.index(found[1]), False
        for line in archive.read(f"{root}/val/val_annotations.txt").decode().splitlines():
            file, synset = line.split("\t")[:2]
            yield f"{root}/val/images/{file}", classes.index(synset), True


@dataclass(frozen=True, kw_only=True, eq=False)
class Core50(ZippedImages):
    """Fifty things held in a hand, in eleven sessions, of which 3, 7 and 10 are the test set (Lomonaco and Maltoni 2017).

    Its publisher gives no SHA-256: the checksum covers name, size and CRC-32 of each photograph in the archive that is here.
    """

    @property
    def checksum(self) -> str:
        (path,) = self.verify().values()
        with ZipFile(path) as archive:
            return digest({one.filename: [one.file_size, one.CRC] for one in archive.infolist()})

    def verify(self, data: Path | None = None) -> dict[str, Path]:
        found = self.locate(data)
        if not found:
            raise self.missing(data)
        for path in found.values():
            try:
                ZipFile(path).close()
            except (OSError, BadZipFile) as error:
                raise DataError(f"{path}: cannot be read: {error}.", "Delete it and put another there.") from None
        return found

    def photographs(self, archive: ZipFile) -> Iterator[Photograph]:
        for member in archive.namelist():
            if found := re.fullmatch(r"core50_128x128/s(\d+)/o(\d+)/[^/]+\.png", member):
                yield member, int(found[2]) - 1, int(found[1]) in (3, 7, 10)


def _image(content: bytes, height: int, width: int) -> NDArray[np.uint8]:
    """Return (3, height, width)."""
    from PIL import Image

    with Image.open(BytesIO(content)) as photograph:
        colours = photograph.convert("RGB")
        fitting = colours if colours.size == (width, height) else colours.resize((width, height), Image.Resampling.BOX)
        return np.asarray(fitting).transpose(2, 0, 1)


TINY_IMAGENET: Final = TinyImagenet(
    name="tiny-imagenet",
    title="Tiny ImageNet: 100,000 + 10,000 photographs of two hundred kinds of things, 64x64, in colour",
    kind="image",
    input_shape=(3, 64, 64),
    n_classes=200,
    files={"tiny-imagenet-200.zip": "6198c8ae015e2b3e007c7841da39ec069199b9aa3bfa943a462022fe5e43c821"},
    folder="TinyImageNet",
    suppliers=(Web({"tiny-imagenet-200.zip": "http://cs231n.stanford.edu/tiny-imagenet-200.zip"}),),
    modality="images",
    origin="Le and Yang 2015, cs231n.stanford.edu, from ImageNet (Deng et al. 2009)",
    licence="ImageNet's terms: for non-commercial research only",
)
CORE50: Final = Core50(
    name="core50",
    title="CORe50: 164,866 pictures of fifty things in a hand, brought to 32x32; sessions 3, 7 and 10 are the test set",
    kind="image",
    input_shape=(3, 32, 32),
    n_classes=50,
    files={"core50_128x128.zip": ""},
    folder="CORe50",
    modality="images",
    origin="Lomonaco and Maltoni 2017, arXiv 1705.03550, vlomonaco.github.io/core50",
    licence="CC BY 4.0",
)
