"""What a data file breaks is said, with the way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nlbench import api
from nlbench.errors import DataError, NlbenchError
from nlbench.sources.user_files import opened
from nlbench.specs.reading import Reading


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "x;y;label\n1;2;a\n", r"columns must be separated by commas, got the one column 'x;y;label'"),
        ("a.csv", "x,label\n1,a\n2\n3,b\n", r"a\.csv, line 3: must have 2 values, one a column, got 1"),
        ("a.csv", "x,label\n1,a\n2,\n3,b\n", r"a\.csv, line 3: column 'label' is empty\. Fill it in"),
        ("a.csv", "x,label\n1,.5\n2,1\n", r"a\.csv, line 2: column 'label' must be a whole number or a word, got 0\.5"),
        ("a.csv", "x,label\n1,a\n2,a\n", r"must have two different labels at least, got 'a' in every row"),
        ("a.csv", "x,label\n1,a\n2,b\n", r"got 2 and 0\. Give each class at least three rows"),
        (
            "a.csv",
            "x,label,split\n1,a,train\n2,b,val\n",
            r"line 3: column 'split' must say train, test or validation, got 'val'\. Where it is no such column, name another",
        ),
        (
            "a.csv",
            "x,label\n" + 200_000 * "1.5,a\n" + "two,b\n",
            r"line 200002: column 'x' must be numbers, as above, got 'two'",
        ),
        (
            "a.csv",
            "x,y,z,label\n1,?,red,a\n\n2,3,blue,b\n",
            r"a\.csv, line 2: column 'y' must be numbers.*, got '\?'; nor is 'z'\. .*stream\.read\.unused='\[\"y\", \"z\"\]'",
        ),
        (
            "a.csv",
            "x,y,label\n1,2,a\n2,unknown,b\n",
            r"a\.csv, line 3: column 'y' must be numbers, or .*, got 'unknown'\. Leave it out",
        ),
        (
            "a.jsonl",
            '{"x": 1, "label": 1}\n\n{"x": null, "label": 2}\n' + 2 * '{"x": 3, "label": 2}\n',
            r"a\.jsonl, line 3: column 'x' has no number",
        ),
        (
            "a.csv",
            "x,label,split\n1,a,train\n2,b,train\n",
            r"got 2 and 0\. The test set is test_inputs of arrays, and of a column",
        ),
        ("a.csv", "x,x,label\n1,2,a\n", r"has two columns 'x'\. Give each a name of its own"),
        (
            "a.jsonl",
            '{"x": 1, "label": [1]}\n{"x": 1, "label": [2]}',
            r"labels must be whole numbers or words, got an array \(2, 1\)",
        ),
        (
            "a.jsonl",
            '{"text": null, "label": 1}\n{"text": "a", "label": 2}',
            r"a\.jsonl, line 1: column 'text' must hold a text, got None",
        ),
        (
            "a.jsonl",
            '{"text": 3, "label": 1}\n{"text": 4, "label": 2}',
            r"a\.jsonl, line 1: column 'text' must hold a text, got 3",
        ),
        ("a.jsonl", f'{{"x": 1, "label": {10**30}}}', r"a\.jsonl: cannot be read: Python int too large"),
        ("a.parquet", "no", r"a\.parquet: cannot be read: "),
        ("a.npz", "no", r"a\.npz: cannot be read: "),
        ("a/1.png", "no", r"cannot be read: cannot identify image file"),
    ],
)
def test_what_a_file_breaks_is_said_with_the_way_out(name: str, text: str, said: str, tmp_path: Path) -> None:
    place = tmp_path / "in" / name
    place.parent.mkdir(parents=True)
    place.write_text(text)
    with pytest.raises(DataError, match=said):
        opened(str(place if place.parent.name == "in" else tmp_path / "in"), None).read()


X, Y = np.ones((60, 2)), np.arange(60) % 3


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"inputs": X, "labels": np.eye(3)[Y]}, r"labels must be one for each of the 60 inputs, got \(60, 3\)\. .*argmax"),
        ({"inputs": X, "labels": Y[1:]}, r"labels must be one for each of the 60 inputs, got \(59,\)"),
        ({"inputs": X, "labels": 1}, r"labels must be one for each of the 60 inputs, got \(\)"),
        ({"inputs": X, "labels": Y, "tasks": Y[1:]}, r"tasks must be one for each of the 60 inputs, got \(59,\)"),
        ({"inputs": X, "labels": Y, "test": Y[1:] > 1}, r"test must be one for each of the 60 inputs, got \(59,\)"),
        ({"inputs": X, "labels": Y, "tasks": Y + 0.5}, r"tasks must be whole numbers or words, got 0\.5"),
        (
            {"inputs": X, "labels": Y.astype("M8[s]")},
            r"labels must be whole numbers or words, got an array \(60,\) of datetime64",
        ),
        (
            {"inputs": X, "labels": Y.astype(object)},
            r"labels holds Python objects, which are never loaded\. .*labels\.astype\(str\)",
        ),
        (
            {"inputs": X.astype(object), "labels": Y},
            r"inputs holds Python objects, which are never loaded\. .*inputs\.astype\(float\)",
        ),
        ({"inputs": X + 1j, "labels": Y}, r"inputs must be real numbers, got complex128"),
        ({"inputs": X.astype(str), "labels": Y}, r"inputs must be real numbers, got <U"),
        ({"inputs": X.astype("M8[s]"), "labels": Y}, r"inputs must be real numbers, got datetime64"),
        ({"inputs": X[:0], "labels": Y[:0]}, r"a\.npz: holds no rows"),
        (
            {"inputs": 1e300 * X, "labels": Y},
            r"a\.npz: inputs must be finite in float32, which those at index 0 are not\. .*what float32 cannot hold",
        ),
        (
            {"train_inputs": X, "train_labels": Y[:-3], "test_inputs": X[:9], "test_labels": np.arange(12) % 3},
            r"train_inputs and train_labels must be as many, got 60 and 57",
        ),
        (
            {"train_inputs": X, "train_labels": Y, "test_inputs": X[:0], "test_labels": Y[:0]},
            r"needs training and test samples, got 60 and 0\. The test set is test_inputs of arrays",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(arrays: dict[str, Any], said: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=said):
        opened(str(tmp_path / "a.npz"), None).read()


def test_numbers_that_stay_on_the_disk_are_finite_too(tmp_path: Path) -> None:
    numbers = np.ones((40, 2), np.float32)
    numbers[33, 1] = np.nan
    parts = {"train_inputs": numbers[:30], "test_inputs": numbers[30:], "train_labels": Y[:30], "test_labels": Y[30:40]}
    for name, values in parts.items():
        np.save(tmp_path / f"{name}.npy", values)
    with pytest.raises(DataError, match="test_inputs must be finite in float32, which those at index 3 are not"):
        opened(str(tmp_path), Reading(standardise="none")).read()


def test_data_is_shown_as_a_stream_of_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,label\n1,a\n2,b\n")
    with pytest.raises(NlbenchError, match=r"a\.csv: is data, and no model, stream or record\. Declare a stream of it"):
        api.named([str(tmp_path / "a.csv")])
