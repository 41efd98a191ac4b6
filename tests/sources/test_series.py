from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from nlbench.errors import DataError
from nlbench.sources.series import APPLIANCES, GESTURES, LEAVES, MOTIONS, SPEAKERS, Series

HEADER = "# a remark\n@problemName made\n@classLabel true Rest Move\n@data\n"


def made(folder: Path, train: str, test: str) -> Series:
    """Write two small files of two channels and return the source of them."""
    (folder / MOTIONS.folder).mkdir(exist_ok=True)
    files = {}
    for file, rows in zip(MOTIONS.files, (train, test), strict=True):
        (folder / MOTIONS.folder / file).write_text(HEADER + rows)
        files[file] = sha256((HEADER + rows).encode()).hexdigest()
    return replace(MOTIONS, files=files, input_shape=(3, 2), n_classes=2, classes=("Rest", "Move"))


def test_channels_are_the_last_axis_and_each_is_standardised_on_the_training_set(tmp_path: Path) -> None:
    source = made(tmp_path, "1,2,3:10,10,40:Move\n5,6,7:20,20,20:Rest\n", "9,9,9:0,0,0:Move\n")
    arrays = source.read(tmp_path)
    raw = np.array([[[1, 10], [2, 10], [3, 40]], [[5, 20], [6, 20], [7, 20]]], dtype=np.float64)
    mean, std = raw.mean((0, 1)), raw.std((0, 1))
    np.testing.assert_allclose(arrays.train_inputs, (raw - mean) / std, rtol=1e-6)
    np.testing.assert_allclose(arrays.test_inputs, (np.broadcast_to([9.0, 0.0], (1, 3, 2)) - mean) / std, rtol=1e-6)
    assert (arrays.train_labels.tolist(), arrays.test_labels.tolist()) == ([1, 0], [1])


@pytest.mark.parametrize(
    ("rows", "rule"), [("1,2:1,2,3:Move\n", "series of one length"), ("1,2,3:1,2,3:Run\n", "labels Rest, Move")]
)
def test_rows_that_do_not_fit_are_refused(rows: str, rule: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"motions: must be .*{rule}"):
        made(tmp_path, "1,2,3:1,2,3:Rest\n" + rows, "1,2,3:1,2,3:Rest\n").read(tmp_path)


@pytest.mark.parametrize("source", [APPLIANCES, SPEAKERS, GESTURES, LEAVES, MOTIONS], ids=lambda source: source.name)
def test_real_series_are_of_the_shape_and_classes_they_say(source: Series) -> None:
    if not source.locate():
        pytest.skip(f"needs {source.name}: `nlbench data fetch {source.name}`")
    arrays = source.read()
    assert arrays.train_inputs.shape[1:] == arrays.test_inputs.shape[1:] == source.input_shape
    for labels in (arrays.train_labels, arrays.test_labels):
        assert (np.bincount(labels, minlength=source.n_classes) > 0).all()
        assert labels.max() == source.n_classes - 1
