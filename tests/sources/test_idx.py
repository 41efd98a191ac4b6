from __future__ import annotations

import gzip
import io
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from small_streams import idx_bytes, made_mnist

from nlbench.errors import DataError
from nlbench.sources import Source, downloads, read
from nlbench.sources.idx import (
    EMNIST_BALANCED,
    EMNIST_FILES,
    EMNIST_LETTERS,
    FASHION_MNIST,
    KMNIST,
    MNIST,
    MNIST_PADDED,
    MNIST_UNSCALED,
)
from nlbench.streams.stream import shown


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError("<urlopen error [Errno -3] Temporary failure in name resolution>")

    monkeypatch.setattr("torchvision.datasets.MNIST.__init__", refuse)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.__init__", refuse)
    monkeypatch.setattr(downloads, "_run", refuse)


@pytest.fixture
def made(tmp_path: Path) -> Source:
    return made_mnist(tmp_path / "data")


@pytest.mark.mnist
def test_canonical_mnist_loads_and_its_constants_standardise_the_training_set() -> None:
    arrays = MNIST.read()
    assert arrays.train_inputs.shape == (60000, 1, 28, 28)
    assert arrays.test_inputs.shape == (10000, 1, 28, 28)
    assert np.bincount(arrays.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert arrays.train_inputs.mean(dtype=np.float64) == pytest.approx(MNIST.mean, abs=1e-7)
    assert arrays.train_inputs.std(dtype=np.float64) == pytest.approx(MNIST.std, abs=1e-7)


@pytest.mark.mnist
def test_unscaled_mnist_is_shown_as_its_pixels_are() -> None:
    images, _, scaling = shown(MNIST_UNSCALED.read(), MNIST_UNSCALED, torch.device("cpu"))
    assert scaling is None
    assert torch.equal(images, torch.from_numpy(MNIST.read().train_inputs))
    assert (images.min(), images.max()) == (0.0, 1.0)


@pytest.mark.mnist
def test_padded_mnist_has_a_dark_border_and_is_standardised_with_it() -> None:
    plain, padded = MNIST.read().test_inputs, MNIST_PADDED.read()
    assert padded.train_inputs.shape == (60000, 1, 32, 32)
    assert np.array_equal(padded.test_inputs[:, :, 2:-2, 2:-2], plain)
    assert padded.test_inputs.sum(dtype=np.float64) == plain.sum(dtype=np.float64)
    assert padded.train_inputs.mean(dtype=np.float64) == pytest.approx(MNIST_PADDED.mean, abs=1e-7)
    assert padded.train_inputs.std(dtype=np.float64) == pytest.approx(MNIST_PADDED.std, abs=1e-7)


def test_packed_and_raw_files_give_the_same_arrays(made: Source, tmp_path: Path) -> None:
    made_mnist(tmp_path / "packed", packed=True)
    raw, packed = made.read(tmp_path / "data"), made.read(tmp_path / "packed")
    assert raw.train_inputs.shape == (300, 1, 6, 6)
    assert raw.train_inputs.dtype == np.float32
    assert raw.train_inputs.min() >= 0.0
    assert raw.train_inputs.max() == 1.0
    assert raw.test_labels.tolist() == [i % 10 for i in range(100)]
    for part in ("train_inputs", "train_labels", "test_inputs", "test_labels"):
        assert np.array_equal(getattr(raw, part), getattr(packed, part))


def test_pixels_come_out_in_the_order_of_the_file(made: Source, tmp_path: Path) -> None:
    content = (tmp_path / "data/MNIST/raw/train-images-idx3-ubyte").read_bytes()[16:]
    assert np.array_equal(np.round(made.read(tmp_path / "data").train_inputs * 255).astype(np.uint8).tobytes(), content)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_with_another_checksum_is_named(packed: bool, tmp_path: Path) -> None:
    source = made_mnist(tmp_path, packed=packed)
    path = tmp_path / "MNIST/raw" / f"t10k-labels-idx1-ubyte{'.gz' if packed else ''}"
    content = idx_bytes(np.zeros(100))
    path.write_bytes(gzip.compress(content) if packed else content)
    for look in (source.read, source.verify, source.fetch):
        with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.*SHA-256 must be .*got .*nlbench data fetch"):
            look(tmp_path)


@pytest.mark.usefixtures("no_network", "no_debian_data")
@pytest.mark.parametrize("source", [MNIST, FASHION_MNIST], ids=lambda source: source.name)
def test_missing_data_without_network_is_one_line_with_both_ways_out(source: Source, tmp_path: Path) -> None:
    for look in (source.read, source.fetch):
        with pytest.raises(DataError) as caught:
            look(tmp_path)
        text = str(caught.value)
        assert "\n" not in text
        assert text.startswith(f"{source.name}: not found in {tmp_path / source.folder}")
        assert f"downloading it failed (torchvision: {source.suppliers[0].name}: <urlopen error" in text
        assert all(way in text for way in ("--data", "NLBENCH_DATA", f"nlbench data fetch {source.name}"))


@pytest.mark.parametrize("failure", [RuntimeError(""), TimeoutError()])
def test_a_download_that_fails_without_a_word_is_still_one_line(
    failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, root: str, **options: object) -> None:
        (Path(root) / "MNIST" / "raw").mkdir(parents=True)
        (Path(root) / "MNIST" / "raw" / "half").write_bytes(b"1")
        raise failure

    monkeypatch.setattr("torchvision.datasets.MNIST.__init__", fail)
    for folder in (tmp_path, tmp_path / "new" / "folder"):
        with pytest.raises(DataError, match=f"downloading it failed .torchvision: MNIST: {type(failure).__name__}"):
            MNIST.read(folder)
    assert list(tmp_path.iterdir()) == []  # nothing is left behind


def test_verify_never_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.MNIST.__init__", lambda *args, **options: pytest.fail("tried to download"))
    with pytest.raises(DataError, match="mnist: not found in"):
        MNIST.verify(tmp_path)


def test_a_download_goes_to_the_first_folder_and_is_checked(
    made: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def deliver(self: object, root: str, download: bool) -> None:
        asked.append((root, download))
        made_mnist(Path(root))

    monkeypatch.setattr("torchvision.datasets.MNIST.__init__", deliver)
    assert len(made.fetch(tmp_path / "new")) == 4
    assert len(made.read(tmp_path / "new").train_labels) == 300
    ((beside, download),) = asked
    assert (Path(beside).parent, download) == (tmp_path / "new", True)
    assert not Path(beside).exists()


def test_checksums_cover_every_file() -> None:
    for source in (MNIST, FASHION_MNIST):
        assert all(len(checksum) == 64 and int(checksum, 16) for checksum in source.files.values())
        changed = replace(source, files={**source.files, next(iter(source.files)): "0" * 64})
        assert changed.checksum != source.checksum
    assert MNIST.checksum != FASHION_MNIST.checksum


def placed(source: Source, folder: Path, contents: dict[str, bytes]) -> Source:
    (folder / source.folder).mkdir(parents=True)
    for file, content in contents.items():
        (folder / source.folder / file).write_bytes(content)
    return replace(source, files={file: sha256(content).hexdigest() for file, content in contents.items()})


def test_packed_files_that_are_checked_as_they_are_give_bytes(tmp_path: Path) -> None:
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    parts = [gzip.compress(idx_bytes(part)) for part in (images, np.array([3, 9]), images[::-1], np.array([9, 3]))]
    arrays = read(placed(KMNIST, tmp_path, dict(zip(KMNIST.files, parts, strict=True))), tmp_path)
    assert arrays.train_inputs.dtype == np.uint8
    np.testing.assert_array_equal(arrays.train_inputs[:, 0], images)
    assert (arrays.train_labels.tolist(), arrays.test_labels.tolist()) == ([3, 9], [9, 3])


def test_the_part_of_emnist_is_read_from_the_archive_of_all_and_stands_upright(tmp_path: Path) -> None:
    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        for part, first in (("letters", 1), ("balanced", 0)):
            arrays = (images + first, np.array([first, 25 + first]), images[:1], np.array([first]))
            for file, array in zip(EMNIST_FILES, arrays, strict=True):
                archive.writestr(f"gzip/emnist-{part}-{file}.gz", gzip.compress(idx_bytes(array)))
    letters = placed(EMNIST_LETTERS, tmp_path, {"gzip.zip": packed.getvalue()})
    arrays = read(letters, tmp_path)
    np.testing.assert_array_equal(arrays.train_inputs[:, 0], (images + 1).swapaxes(1, 2))
    assert arrays.train_labels.tolist() == [0, 25]
    balanced = read(replace(EMNIST_BALANCED, files=letters.files), tmp_path)
    np.testing.assert_array_equal(balanced.train_inputs[:, 0], images.swapaxes(1, 2))
    assert balanced.train_labels.tolist() == [0, 25]
