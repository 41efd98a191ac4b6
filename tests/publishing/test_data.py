"""The site's data: records as they are, and the leaderboard's numbers."""

from __future__ import annotations

import json

import duckdb
import pytest

from nlbench.comparison import compare
from nlbench.records import read_records
from nlbench.records.tools import superseded


def test_records_are_copied_bit_by_bit(records, site):
    copies = {path.read_bytes() for path in (site / "data/records").iterdir()}
    assert copies == {record.path.read_bytes() for record in records}
    assert len(read_records([site / "data/records"])[0]) == len(records)


def test_leaderboard_says_what_compare_says(records, site):
    rows = json.loads((site / "data/leaderboard.json").read_text(encoding="utf-8"))
    current = [record for record in records if record not in superseded(records)]
    expected = list(compare(current).rows())
    assert [{key: row[key] for key in expected[0]} for row in rows] == expected
    assert {row["record"] for row in rows} <= {path.stem for path in (site / "records").iterdir()}


def test_leaderboard_is_read_by_other_tools(site):
    query = (
        f"SELECT learner, mean FROM '{site / 'data/leaderboard.parquet'}' WHERE metric = 'forgetting' AND stream = 'split-digits'"
    )
    found = dict(duckdb.sql(query).fetchall())
    assert set(found) == {"mlp", "er", "joint", "chance"}
    assert found["er"] == pytest.approx(0.23, abs=0.03)


def test_no_file_says_where_the_records_lay(records, site):
    folder = str(records[0].path.parent).encode()
    assert not [path for path in site.rglob("*.*") if folder in path.read_bytes()]
