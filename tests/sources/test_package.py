from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from nlbench.errors import DataError
from nlbench.sources import package
from nlbench.sources.package import DIGITS


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


def test_without_scikit_learn_digits_say_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "find_spec", lambda name: None)
    for read in (DIGITS.read, DIGITS.verify, DIGITS.fetch):
        with pytest.raises(DataError, match="digits come with scikit-learn, which is not installed"):
            read()
