from __future__ import annotations

import lzma
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from data_frames import saved

from nlbench.sources.tables import LETTERS, SATELLITE, SHUTTLE, VEHICLE, VOWEL, Table


@pytest.fixture
def made(tmp_path: Path) -> Table:
    values = np.arange(20.0)
    columns = {"speaker": values, "x": values, "Class": ([1 + i % 2 for i in range(20)], ["one", "two"]), "y": 3 - 2 * values}
    content = lzma.compress(saved(columns))
    (tmp_path / VOWEL.folder).mkdir()
    (tmp_path / VOWEL.folder / "Vowel.rda").write_bytes(content)
    files = {"Vowel.rda": sha256(content).hexdigest()}
    return replace(VOWEL, files=files, input_shape=(2,), n_classes=2, train=12, unused=("speaker",))


def test_the_first_rows_are_the_training_set_and_decide_the_scale_of_each_column(made: Table, tmp_path: Path) -> None:
    arrays = made.read(tmp_path)
    raw = np.stack([np.arange(20.0), 3 - 2 * np.arange(20.0)], 1)
    expected = (raw - raw[:12].mean(0)) / raw[:12].std(0)
    np.testing.assert_allclose(arrays.train_inputs, expected[:12], rtol=1e-6)
    np.testing.assert_allclose(arrays.test_inputs, expected[12:], rtol=1e-6)
    assert arrays.test_labels.tolist() == [i % 2 for i in range(12, 20)]


def test_a_table_without_a_test_set_of_its_own_holds_out_a_fixed_fifth_of_each_class(made: Table, tmp_path: Path) -> None:
    arrays = replace(made, train=None).read(tmp_path)
    assert np.bincount(arrays.test_labels).tolist() == [2, 2]
    np.testing.assert_allclose(arrays.train_inputs.mean(0), 0.0, atol=1e-6)
    np.testing.assert_array_equal(arrays.test_inputs, replace(made, train=None).read(tmp_path).test_inputs)


@pytest.mark.parametrize(
    ("source", "train", "test"),
    [
        (SATELLITE, [1072, 479, 961, 415, 470, 1038], 2000),
        (SHUTTLE, [34108, 37, 132, 6748, 2458, 6, 11], 14500),
        (LETTERS, None, 4000),
        (VOWEL, [48] * 11, 462),
        (VEHICLE, [174, 170, 174, 159], 169),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_real_tables_are_divided_as_the_repository_divides_them(source: Table, train: list[int] | None, test: int) -> None:
    if not source.locate():
        pytest.skip(f"needs {source.name}: `nlbench data fetch {source.name}`")
    arrays = source.read()
    assert arrays.train_inputs.shape[1:] == source.input_shape
    assert len(arrays.test_labels) == test
    assert train is None or np.bincount(arrays.train_labels).tolist() == train
    assert np.isfinite(arrays.test_inputs).all()
