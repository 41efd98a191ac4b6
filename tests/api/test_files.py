"""What is done with files from Python."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from synthetic_records import make_record, matrix

from nlbench import api
from nlbench.errors import RecordError

OLDEST = Path(__file__).parents[1] / "records" / "data" / "schema-1.parquet"


def test_export_counts_records_and_names_what_it_skipped(tmp_path: Path) -> None:
    for model in ("mlp", "cms"):
        make_record(tmp_path / "r" / f"{model}.parquet", {0: matrix(0.6, 0.9)}, model=model, fingerprint=model)
    (tmp_path / "r" / "other.parquet").write_text("x")
    done = api.export([tmp_path / "r"], tmp_path / "all.parquet")
    assert (done.path, done.records, len(done.skipped)) == (tmp_path / "all.parquet", 2, 1)
    assert set(pq.read_table(done.path)["model"].to_pylist()) == {"mlp", "cms"}


def test_migrate_says_whether_there_was_anything_to_do(tmp_path: Path) -> None:
    old = Path(shutil.copy(OLDEST, tmp_path / "old.parquet"))
    api.migrate(old)
    assert not api.migrate(old)


def test_prune_deletes_nothing_unless_asked(tmp_path: Path) -> None:
    left = tmp_path / ".r.parquet.1.tmp"
    left.touch()
    assert api.prune(tmp_path) == {left: "left over"}
    assert left.exists()
    api.prune(tmp_path, delete=True)
    assert not left.exists()
    with pytest.raises(RecordError, match="is not a folder"):
        api.prune(tmp_path / "absent")
