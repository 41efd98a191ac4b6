"""MNIST, and what comes in IDX files as it does: Fashion-MNIST, KMNIST, EMNIST.

Reading them directly keeps torchvision out of a run's start-up.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from nlbench.sources.downloads import Debian, Torchvision, Web
from nlbench.sources.source import Arrays, Source

FILES: Final = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
EMNIST_FILES: Final = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "test-images-idx3-ubyte", "test-labels-idx1-ubyte")


@dataclass(frozen=True, kw_only=True, eq=False)
class Idx(Source):
    """Four files, in this order: training images, training labels, test images, test labels.

    border  dark pixels that are put around an image, on each side; `input_shape` counts them
    """

    border: int = 0

    def read(self, data: Path | None = None) -> Arrays:
        train, train_labels, test, test_labels = map(_array, self.contents(data).values())
        return Arrays(self._pixels(train), train_labels.astype(np.int64), self._pixels(test), test_labels.astype(np.int64))

    def _pixels(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        framed = np.pad(images, ((0, 0), *2 * [2 * (self.border,)])) if self.border else images
        return np.multiply(framed, np.float32(1 / 255), dtype=np.float32).reshape(-1, *self.input_shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class ByteIdx(Idx):
    """Four files whose images stay bytes."""

    def _pixels(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        return images.reshape(-1, *self.input_shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Emnist(Source):
    """One part of EMNIST, read from the archive of all; its images lie transposed in the files, and stay bytes.

    part   its name in the files
    first  the first label that they use
    """

    part: str
    first: int = 0

    def read(self, data: Path | None = None) -> Arrays:
        ((content,),) = (self.contents(data).values(),)
        with ZipFile(BytesIO(content)) as archive:
            parts = [_array(archive.read(f"gzip/emnist-{self.part}-{file}.gz")) for file in EMNIST_FILES]
        train, test = (images.swapaxes(1, 2)[:, None].copy() for images in parts[::2])
        train_labels, test_labels = (labels.astype(np.int64) - self.first for labels in parts[1::2])
        return Arrays(train, train_labels, test, test_labels)


def _array(content: bytes) -> NDArray[np.uint8]:
    """Return the array of an IDX file of unsigned bytes: magic 0, 0, 8, rank; then big-endian sizes; then the data. It may be
    packed.
    """
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    rank = content[3]
    shape = np.frombuffer(content, dtype=">u4", count=rank, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * rank).reshape(tuple(int(size) for size in shape))


MNIST: Final = Idx(
    name="mnist",
    title="MNIST: 60,000 + 10,000 handwritten digits, 28x28",
    kind="image",
    input_shape=(1, 28, 28),
    n_classes=10,
    mean=0.1306604762738429,
    std=0.30810780385646264,
    folder="MNIST/raw",
    files={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    origin="LeCun, Cortes and Burges, yann.lecun.com/exdb/mnist",
    licence="CC BY-SA 3.0",
    suppliers=(Torchvision("MNIST"),),
    modality="images",
)

MNIST_UNSCALED: Final = replace(
    MNIST, name="mnist-unscaled", title="MNIST with its pixels as they are, from 0 to 1", mean=0.0, std=1.0
)

MNIST_PADDED: Final = replace(
    MNIST,
    name="mnist-padded",
    title="MNIST with a border of two dark pixels, 32x32",
    input_shape=(1, 32, 32),
    border=2,
    mean=0.10003692714716096,
    std=0.2752173461913689,
)

MNIST_PADDED_UNSCALED: Final = replace(
    MNIST_PADDED,
    name="mnist-padded-unscaled",
    title="MNIST with a border of two dark pixels, its pixels as they are, from 0 to 1",
    mean=0.0,
    std=1.0,
)

FASHION_MNIST: Final = Idx(
    name="fashion-mnist",
    title="Fashion-MNIST: 60,000 + 10,000 pictures of clothes, 28x28",
    kind="image",
    input_shape=(1, 28, 28),
    n_classes=10,
    mean=0.2860405969887955,
    std=0.35302424451492254,
    folder="FashionMNIST/raw",
    files={
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    origin="Xiao, Rasul and Vollgraf (Zalando Research) 2017, github.com/zalandoresearch/fashion-mnist",
    licence="MIT",
    suppliers=(
        Torchvision("FashionMNIST"),
        Debian(
            "dataset-fashion-mnist",
            {f"{file}.gz": f"/usr/share/datasets/fashion-mnist/{file}.gz" for file in FILES},
        ),
    ),
    modality="images",
)

KMNIST: Final = ByteIdx(
    name="kmnist",
    title="KMNIST: 60,000 + 10,000 cursive Japanese characters of ten kinds, 28x28",
    kind="image",
    input_shape=(1, 28, 28),
    n_classes=10,
    folder="KMNIST/raw",
    files={
        "train-images-idx3-ubyte.gz": "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        "train-labels-idx1-ubyte.gz": "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        "t10k-images-idx3-ubyte.gz": "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        "t10k-labels-idx1-ubyte.gz": "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    },
    suppliers=(Torchvision("KMNIST"),),
    modality="images",
    origin="Clanuwat et al. 2018, arXiv 1812.01718, codh.rois.ac.jp/kmnist",
    licence="CC BY-SA 4.0",
)


def _emnist(name: str, title: str, n_classes: int, part: str, first: int) -> Emnist:
    return Emnist(
        name=name,
        title=title,
        kind="image",
        input_shape=(1, 28, 28),
        n_classes=n_classes,
        folder="EMNIST",
        files={"gzip.zip": "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"},
        suppliers=(Web({"gzip.zip": "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip"}),),
        modality="images",
        origin="Cohen et al. 2017, arXiv 1702.05373, nist.gov/itl/products-and-services/emnist-dataset",
        licence="public domain (NIST)",
        part=part,
        first=first,
    )


EMNIST_LETTERS: Final = _emnist(
    "emnist-letters", "EMNIST letters: 124,800 + 20,800 handwritten letters of 26 kinds, 28x28", 26, "letters", 1
)
EMNIST_BALANCED: Final = _emnist(
    "emnist-balanced", "EMNIST balanced: 112,800 + 18,800 handwritten digits and letters of 47 kinds, 28x28", 47, "balanced", 0
)
