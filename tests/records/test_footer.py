"""A file whose metadata or columns have wrong types is refused in one line that names file, key, rule and value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_records import make_record, matrix, metadata, reforged

from nlbench.errors import RecordError
from nlbench.records import NotARecordError, read_record, read_records, write_record
from nlbench.records.schema import METADATA_KEY

TWO = {0: matrix(0.6, 0.9), 3: matrix(0.7, 0.95)}


def refused(good: Path, bad: Path) -> str:
    """Return the line with which the file is refused, alone and as one of several."""
    with pytest.raises(RecordError) as caught:
        read_record(bad)
    records, notes = read_records([good, bad])
    assert [record.path for record in records] == [good]
    assert notes == [f"skipped {caught.value}"]
    assert "\n" not in notes[0]
    return caught.value.message


@pytest.mark.parametrize("text", ["[1, 2]", "null", "3", '"x"', "{", "", "[" * 100_000])
def test_metadata_that_is_no_table(tmp_path: Path, text: str) -> None:
    good = make_record(tmp_path / "good.parquet", TWO).path
    assert "bad.parquet: its metadata" in refused(good, reforged(good, tmp_path / "bad.parquet", text=text))


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"n_tasks": "5"}, "n_tasks: must be a valid integer, got '5'"),
        ({"n_tasks": None}, "n_tasks: must be a valid integer, got None"),
        ({"n_tasks": 5.0}, "n_tasks: must be a valid integer, got 5.0"),
        ({"n_tasks": 0}, "n_tasks: must be greater than or equal to 1, got 0"),
        ({"n_tasks": 10**7}, "n_tasks: must be at most its "),
        ({"seeds": None}, "seeds: must be a valid list, got None"),
        ({"seeds": 5}, "seeds: must be a valid list, got 5"),
        ({"seeds": []}, "seeds: "),
        ({"seeds": [3, 0]}, "seeds: must ascend, got [3, 0]"),
        ({"seeds": [0.0, 3.0]}, "seeds.0: must be a valid integer, got 0.0"),
        ({"seeds": [0, 3, 4]}, "runs: must name each of the seeds [0, 3, 4] once, got [0, 3]"),
        ({"schema_version": "1"}, "schema_version: must be a valid integer, got '1'"),
        ({"metric_versions": None}, "metric_versions.int: must be a valid integer"),
        ({"model": None}, "model: must be a valid string, got None"),
        ({"stream": 3}, "stream: must be a valid string, got 3"),
        ({"fingerprint": None}, "fingerprint: must be a valid string"),
        ({"stream_digest": [1]}, "stream_digest: must be a valid string, got [1]"),
        ({"created": None}, "created: must be a valid string"),
        ({"created": "zzzz"}, "created: "),
        ({"created": "2026-06-01T00:00:00"}, "created: "),
        ({"null_metrics": [1]}, "null_metrics: must be a valid dictionary"),
        ({"runs": None}, "runs: must be a valid list"),
        ({"runs": []}, "runs: "),
        ({"runs": ["a"]}, "runs.0: must be a valid dictionary"),
        ({"learner_spec": None}, "learner_spec: must be a valid dictionary"),
        ({"check": "x"}, "check: must be a valid dictionary, got 'x'"),
        ({"check": [1]}, "check: must be a valid dictionary, got [1]"),
        ({"check": {"forgetting": "big"}}, "check.forgetting: must be a valid number, got 'big'"),
    ],
)
def test_metadata_of_wrong_types(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    good = make_record(tmp_path / "good.parquet", TWO)
    text = json.dumps({**good.footer.facts(), **facts})
    assert f"bad.parquet: {message}" in refused(good.path, reforged(good.path, tmp_path / "bad.parquet", text=text))


def test_metadata_that_lacks_a_key(tmp_path: Path) -> None:
    good = make_record(tmp_path / "good.parquet", TWO)
    text = json.dumps({key: value for key, value in good.footer.facts().items() if key != "created"})
    bad = reforged(good.path, tmp_path / "bad.parquet", text=text)
    assert "bad.parquet: created: is required" in refused(good.path, bad)


def with_column(name: str, values: Callable[[pa.Table], Any]) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.schema.get_field_index(name), name, values(table))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_column("value", lambda t: t["value"].cast(pa.string())), "column value: must hold 64-bit floats, got string"),
        (with_column("seed", lambda t: t["seed"].cast(pa.string())), "column seed: must hold integers, got string"),
        (with_column("metric", lambda t: pa.array([1] * len(t))), "column metric: must hold strings, got int64"),
        (with_column("metric", lambda t: pa.nulls(len(t), pa.string())), "column metric: must name a metric in every row"),
        (lambda table: table.drop_columns(["run"]), "column run: must hold strings, got none"),
    ],
)
def test_columns_of_wrong_types(tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str) -> None:
    good = make_record(tmp_path / "good.parquet", TWO).path
    assert f"bad.parquet: {message}" in refused(good, reforged(good, tmp_path / "bad.parquet", change=change))


def test_what_a_record_says_beside_is_let_be(tmp_path: Path) -> None:
    good = make_record(tmp_path / "good.parquet", TWO)
    more = reforged(good.path, tmp_path / "more.parquet", text=json.dumps({**good.footer.facts(), "note": [1]}))
    assert read_record(more).footer.facts()["note"] == [1]
    with pytest.raises(NotARecordError, match="Install a newer nlbench"):
        read_record(
            reforged(
                good.path, tmp_path / "new.parquet", text=json.dumps({**good.footer.facts(), "schema_version": 99, "runs": 1})
            )
        )


def test_what_shipped_records_say_is_said_again_to_the_letter() -> None:
    """A rewritten record keeps every fact: whole numbers stay whole, what is absent stays absent, what is unknown stays."""
    root = Path(__file__).parents[2]
    paths = [Path(__file__).parent / "data" / "schema-1.parquet", *(root / "results" / "reference").glob("*.parquet")]
    assert len(paths) > 20
    for path in paths:
        said = json.loads(pq.ParquetFile(path).metadata.metadata[METADATA_KEY])
        if "metrics_version" in said:  # what schema 1 calls it
            said["metric_versions"] = said.pop("metrics_version")
        again = read_records([path], with_reference=True)[0][0].footer.facts()
        assert json.dumps(again, sort_keys=True) == json.dumps(said, sort_keys=True), path.name


def test_a_footer_answers_by_attributes_where_a_record_says_little(tmp_path: Path) -> None:
    said = make_record(tmp_path / "r.parquet", TWO, check={"forgetting": 0.1}, learner_spec={"learner": "mlp"}).footer
    assert (said.check.margins, said.check.min_seeds) == ({"forgetting": 0.1}, None)
    assert (said.environment.commit, said.environment.packages, said.environment.clean) == (None, {}, False)
    assert (said.gpu, said.runs[0].backend, said.learner_kind) == (None, "reference", "")


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"seeds": ["0"]}, "metadata: seeds.0: must be a valid integer"),
        ({"threads": "1"}, "metadata: threads: must be a valid integer"),
        ({"environment": {"cores": "two"}}, "metadata: environment.cores: must be a valid integer"),
        ({"model": ""}, "metadata: model: must have at least 1 character"),
    ],
)
def test_wrong_facts_are_refused_before_they_are_written(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        write_record(tmp_path / "r.parquet", rows=[], metadata={**metadata(seeds=[0], n_tasks=5), **facts})
    assert not list(tmp_path.iterdir())
