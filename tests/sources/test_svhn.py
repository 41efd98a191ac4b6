from __future__ import annotations

import io
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from scipy.io import savemat

from nlbench.sources import read
from nlbench.sources.svhn import SVHN


def test_pictures_are_put_samples_first_and_ten_is_the_digit_zero(tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.Philox(1))
    (tmp_path / SVHN.folder).mkdir()
    pictures, files = {}, {}
    for file, labels in zip(SVHN.files, ([10, 1, 9], [10]), strict=True):
        pictures[file] = rng.integers(0, 256, (len(labels), 3, 32, 32), dtype=np.uint8)
        content = io.BytesIO()
        savemat(content, {"X": pictures[file].transpose(2, 3, 1, 0), "y": np.array(labels, np.uint8)[:, None]})
        (tmp_path / SVHN.folder / file).write_bytes(content.getvalue())
        files[file] = sha256(content.getvalue()).hexdigest()
    arrays = read(replace(SVHN, files=files), tmp_path)
    np.testing.assert_array_equal(arrays.train_inputs, pictures["train_32x32.mat"])
    np.testing.assert_array_equal(arrays.test_inputs, pictures["test_32x32.mat"])
    assert (arrays.train_labels.tolist(), arrays.test_labels.tolist()) == ([0, 1, 9], [0])
