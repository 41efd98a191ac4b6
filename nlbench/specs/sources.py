"""The data sets streams are cut from: their files, SHA-256 checksums, shapes and standardisation. Facts only;
`nlbench.sources` loads them.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from nlbench.specs.model import digest

SourceName = Literal["digits", "mnist", "fashion-mnist"]


class Source(NamedTuple):
    """A data set as declared. `files` maps a path inside `folder` to the SHA-256 of its (uncompressed) bytes."""

    title: str
    input_shape: tuple[int, ...]
    n_classes: int
    folder: str
    files: dict[str, str]
    mean: float
    """Of all pixels of the training set, scaled to [0, 1]."""
    std: float

    @property
    def checksum(self) -> str:
        """One digest over all file checksums."""
        return digest(self.files)


SOURCES: Final[dict[str, Source]] = {
    "digits": Source(
        title="scikit-learn's 8x8 digits: 1,797 images; a fixed stratified fifth of them is the test set",
        input_shape=(1, 8, 8),
        n_classes=10,
        folder="",
        files={"digits.csv": "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"},
        mean=0.3052348639603616,
        std=0.3761935882412025,
    ),
    "mnist": Source(
        title="MNIST: 60,000 + 10,000 handwritten digits, 28x28",
        input_shape=(1, 28, 28),
        n_classes=10,
        folder="MNIST/raw",
        files={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
        mean=0.1306604762738429,
        std=0.30810780385646264,
    ),
    "fashion-mnist": Source(
        title="Fashion-MNIST: 60,000 + 10,000 pictures of clothes, 28x28",
        input_shape=(1, 28, 28),
        n_classes=10,
        folder="FashionMNIST/raw",
        files={
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        mean=0.2860405969887955,
        std=0.35302424451492254,
    ),
}
