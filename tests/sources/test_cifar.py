from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from pictures import packed

from nlbench.errors import DataError
from nlbench.sources import read
from nlbench.sources.cifar import CIFAR10, CIFAR100, Cifar


def records(labels: list[int], first: int, *, coarse: bool) -> bytes:
    """Return records whose image k is all of byte `first` + k in red, one more in green, two more in blue."""
    parts = []
    for place, label in enumerate(labels):
        image = b"".join(bytes([first + place + colour] * 1024) for colour in range(3))
        parts.append(bytes([label // 5, label] if coarse else [label]) + image)
    return b"".join(parts)


def made(source: Cifar, folder: Path, files: Mapping[str, bytes]) -> Cifar:
    content = packed({"readme.txt": b"", **files})
    (name,) = source.files
    (folder / source.folder).mkdir()
    (folder / source.folder / name).write_bytes(content)
    return replace(source, files={name: sha256(content).hexdigest()})


def test_batches_are_joined_in_order_and_colours_are_the_first_axis(tmp_path: Path) -> None:
    files = {name: records([k, 9 - k], 10 * k, coarse=False) for k, name in enumerate(CIFAR10.train)}
    source = made(CIFAR10, tmp_path, {**dict(reversed(files.items())), "test_batch.bin": records([3], 200, coarse=False)})
    arrays = read(source, tmp_path)
    assert (arrays.train_inputs.dtype, arrays.train_inputs.shape) == (np.uint8, (10, 3, 32, 32))
    assert arrays.train_labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert arrays.train_inputs[:, 0, 5, 7].tolist() == [0, 1, 10, 11, 20, 21, 30, 31, 40, 41]
    assert arrays.test_inputs[0, :, 31, 0].tolist() == [200, 201, 202]
    assert arrays.test_labels.tolist() == [3]


def test_the_fine_label_of_a_hundred_is_the_class(tmp_path: Path) -> None:
    files = {"train.bin": records([99, 0, 42], 0, coarse=True), "test.bin": records([7], 50, coarse=True)}
    arrays = read(made(CIFAR100, tmp_path, files), tmp_path)
    assert (arrays.train_labels.tolist(), arrays.test_labels.tolist()) == ([99, 0, 42], [7])
    assert arrays.train_inputs[2, :, 0, 0].tolist() == [2, 3, 4]


def test_an_archive_without_a_part_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar100: the archive has no test\.bin"):
        made(CIFAR100, tmp_path, {"train.bin": records([1], 0, coarse=True)}).read(tmp_path)
