"""Columns as numbers: what is none is named by its line and its column, and what only tells rows apart is remarked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nlbench.errors import DataError
from nlbench.plan import resolve
from nlbench.sources.user_files import opened
from nlbench.specs.reading import Reading

RNG = np.random.Generator(np.random.Philox(3))


def test_a_number_that_is_missing_is_named_by_its_line_and_its_column(tmp_path: Path) -> None:
    whole = "x,y,label\n" + "".join(f"{i},{i},{i % 2}\n" for i in range(20))
    rows = [f"{i},{'' if i == 7 else i},{i % 2}" for i in range(20)]
    holed = "\n".join(["x,y,label", "", *rows])
    for name, text in {"a": whole, "b": holed}.items():
        (tmp_path / f"{name}.csv").write_text(text)
    said = r"b\.csv, line 10: column 'y' has no number\. Fill"
    with pytest.raises(DataError, match=said):
        opened(str(tmp_path / "b.csv"), None).read()
    with pytest.raises(DataError, match=said):
        opened(str(tmp_path / "a.csv"), Reading(test=str(tmp_path / "b.csv"))).read()
    (tmp_path / "b.csv").write_text(holed.replace("9,9,", "9,NA,").replace("3,3,", "3,,"))
    with pytest.raises(DataError, match=r"b\.csv, line 6: column 'y' has no number, nor have 2 further rows\. Fill"):
        opened(str(tmp_path / "b.csv"), None).read()


def test_a_column_that_tells_rows_apart_is_remarked_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    n = 3000
    columns = {"x": RNG.standard_normal(n), "row": np.arange(n), "count": np.arange(n) % 1500, "label": np.arange(n) % 2}
    pq.write_table(pa.table({**columns, "Id": np.arange(n) // 3}), "a.parquet")
    (note,) = resolve("mlp", "./a.parquet", seeds=(0,), overrides={"stream.tasks": "1"}).notes
    assert note == (
        "a.parquet: columns 'row', 'Id' are shown to the learner; if they only tell rows apart, leave them out: "
        'unused = ["row", "Id"] in [stream.read], or --set stream.read.unused=\'["row", "Id"]\'.'
    )
    some = {"stream.tasks": "1", "stream.read.unused": "row"}
    (note,) = resolve("mlp", "./a.parquet", seeds=(0,), overrides=some).notes
    assert "column 'Id' is shown to the learner; if it only tells rows apart, leave it out: unused = [\"Id\"]" in note
    none = {"stream.tasks": "1", "stream.read.unused": '["row", "Id"]'}
    assert resolve("mlp", "./a.parquet", seeds=(0,), overrides=none).notes == ()
