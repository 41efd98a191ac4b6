"""Images in IDX files, as MNIST comes. Reading them directly keeps torchvision out of a run's start-up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from nlbench.sources.source import Arrays, Source
from nlbench.sources.supply import Debian, Torchvision

FILES: Final = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@dataclass(frozen=True, kw_only=True, eq=False)
class Idx(Source):
    """Four files, in this order: training images, training labels, test images, test labels."""

    def read(self, data: Path | None = None) -> Arrays:
        train, train_labels, test, test_labels = map(_array, self.contents(data).values())
        return Arrays(self._pixels(train), train_labels.astype(np.int64), self._pixels(test), test_labels.astype(np.int64))

    def _pixels(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.multiply(images, np.float32(1 / 255), dtype=np.float32).reshape(-1, *self.input_shape)


def _array(content: bytes) -> NDArray[np.uint8]:
    """Return the array of an IDX file of unsigned bytes: magic 0, 0, 8, rank; then big-endian sizes; then the data."""
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
