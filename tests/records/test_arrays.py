"""Between Arrow and numpy, without pandas."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from nlbench.records import arrays


@pytest.mark.parametrize("chunks", [[[1, None, 3]], [[1, None], [3]], [[], [1, None, 3], []]])
def test_nulls_become_what_stands_for_them(chunks: list[list[int | None]]) -> None:
    whole = arrays.numbers(pa.chunked_array([pa.array(chunk, pa.int32()) for chunk in chunks]), -1)
    assert (whole.dtype, whole.tolist()) == (np.int64, [1, -1, 3])
    shares = arrays.numbers(pa.chunked_array([pa.array([0.25, None])]), np.nan)
    np.testing.assert_array_equal(shares, [0.25, np.nan])


def test_codes_name_the_distinct_strings_of_all_chunks() -> None:
    for column in (
        pa.chunked_array([["a", "b"], ["c", "a"]]),
        pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["c", "a"]).dictionary_encode()]),
    ):
        codes, names = arrays.codes(column)
        assert [names[code] for code in codes] == ["a", "b", "c", "a"]
        assert sorted(names) == ["a", "b", "c"]


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.float64()])
@pytest.mark.parametrize("count", [0, 1, 8, 9, 17])
def test_numbers_and_strings_and_masks_are_what_arrow_would_make(kind: pa.DataType, count: int) -> None:
    values = [None if i % 3 == 1 else i for i in range(count)]
    made = arrays.from_numbers(values, kind)
    made.validate(full=True)
    assert made.equals(pa.array(values, kind))
    chosen = np.arange(count) % 2 == 0
    assert arrays.mask(chosen).equals(pa.array(chosen.tolist(), pa.bool_()))


def test_strings_of_any_length_and_script() -> None:
    texts = ["", "a", "ü ◆", "long" * 50]
    made = arrays.from_strings(texts)
    made.validate(full=True)
    assert made.equals(pa.array(texts))


def test_none_of_it_imports_pandas() -> None:
    code = (
        "import sys, numpy as np, pyarrow as pa\nfrom nlbench.records import arrays\n"
        "made = pa.chunked_array([arrays.from_numbers([1.0, None], pa.float64())])\narrays.numbers(made, 0.0)\n"
        "arrays.codes(pa.chunked_array([arrays.from_strings(['a'])]))\narrays.mask(np.array([True]))\n"
        "print('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
