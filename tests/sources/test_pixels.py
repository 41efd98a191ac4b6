from __future__ import annotations

import gzip
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nlbench.errors import DataError
from nlbench.sources import downloads
from nlbench.sources.pixels import DIGITS, MNIST_5K


def test_digits_are_scikit_learns_split_once_and_for_all() -> None:
    expected, arrays = load_digits(), DIGITS.read()
    counts = np.bincount(expected.target)
    assert np.bincount(arrays.test_labels).tolist() == [round(0.2 * count) for count in counts]
    assert len(arrays.train_labels) + len(arrays.test_labels) == 1797

    def rows(inputs: np.ndarray, labels: np.ndarray) -> list[bytes]:
        return sorted(
            np.concatenate([np.float32(x).ravel(), [y]]).astype(np.float32).tobytes() for x, y in zip(inputs, labels, strict=True)
        )

    together = (
        np.concatenate([arrays.train_inputs, arrays.test_inputs]),
        np.concatenate([arrays.train_labels, arrays.test_labels]),
    )
    assert rows(*together) == rows(expected.images / 16, expected.target)
    again = DIGITS.read()
    assert np.array_equal(again.test_inputs, arrays.test_inputs)


def test_constants_of_digits_standardise_the_training_set() -> None:
    train = DIGITS.read().train_inputs.astype(np.float64)
    assert train.mean() == pytest.approx(DIGITS.mean, abs=1e-9)
    assert train.std() == pytest.approx(DIGITS.std, abs=1e-9)


def test_constants_of_mnist_5k_standardise_its_training_set() -> None:
    if not MNIST_5K.locate():
        pytest.skip("needs mnist-5k: `nlbench data fetch mnist-5k`")
    arrays = MNIST_5K.read()
    assert np.bincount(arrays.train_labels).tolist() == [400] * 10
    assert np.bincount(arrays.test_labels).tolist() == [100] * 10
    train = arrays.train_inputs.astype(np.float64)
    assert (train.min(), train.max()) == (0.0, 1.0)
    assert train.mean() == pytest.approx(MNIST_5K.mean, abs=1e-9)
    assert train.std() == pytest.approx(MNIST_5K.std, abs=1e-9)


def test_a_folder_of_one_s_own_is_read_before_the_package(tmp_path: Path) -> None:
    text = "\n".join(f"{','.join(['16'] * 64)},{label}" for label in range(10) for _ in range(5)).encode()
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits/digits.csv.gz").write_bytes(gzip.compress(text))
    mine = replace(DIGITS, files={"digits.csv": sha256(text).hexdigest()})
    arrays = mine.read(tmp_path)
    assert (arrays.train_inputs == 1.0).all()
    assert np.bincount(arrays.test_labels).tolist() == [1] * 10


def test_without_scikit_learn_digits_are_fetched_as_any_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(downloads, "find_spec", lambda name: None)
    monkeypatch.setattr(downloads, "PATIENCE_S", 0.0)  # no network is asked
    assert DIGITS.locate(tmp_path) == {}
    with pytest.raises(DataError, match=r"digits: not found in .*PyPI: scikit-learn"):
        DIGITS.read(tmp_path)
    assert list(tmp_path.iterdir()) == []
