"""A record whose digests are not those of its own declarations is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from synthetic_records import make_record, matrix, reforged

from nlbench.errors import RecordError
from nlbench.records import read_record, read_records
from nlbench.specs import digest
from nlbench.specs.identity import fingerprint, stream_digest

TWO = {0: matrix(0.6, 0.9), 3: matrix(0.7, 0.95)}
REFERENCES = Path(__file__).parents[2] / "results" / "reference"


def facts() -> dict[str, Any]:
    """What a record says that says all that its fingerprint is made of."""
    said = {
        "protocol_version": 2,
        "stream_spec": {"stream": {"kind": "split", "tasks": 5}, "output_space": "all"},
        "data": {"digits": "abc"},
        "terms": {"passes": 1, "batch": 16, "boundaries": False},
        "evaluation": {"evaluate": "full", "evaluate_every": None},
        "learner_spec": {"learner": {"kind": "mlp", "rate": 0.1}, "presents": "sequential"},
        "code": {"protocol": "0123"},
        "precision": "float32",
    }
    own = {"stream_digest": stream_digest(said["stream_spec"], said["data"]), "learner_digest": digest(said["learner_spec"])}
    return {**said, **own, "fingerprint": fingerprint(said)}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"stream_digest": "0123456789abcdef"}, "stream_digest is 0123456789abcdef, what it is made of gives"),
        ({"fingerprint": "0123456789abcdef"}, "fingerprint is 0123456789abcdef, what it is made of gives"),
        ({"learner_digest": "0123456789abcdef"}, "learner_digest is 0123456789abcdef"),
        ({"data": {"digits": "abd"}}, "stream_digest is"),
        ({"terms": {"passes": 4, "batch": 16, "boundaries": False}}, "fingerprint is"),
        ({"code": {"protocol": "0124"}}, "fingerprint is"),
        ({"precision": "bf16"}, "fingerprint is"),
    ],
)
def test_a_digest_that_is_not_of_its_declarations(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    good = make_record(tmp_path / "good.parquet", TWO, **facts())
    bad = reforged(good.path, tmp_path / "bad.parquet", text=json.dumps({**good.footer.facts(), **changed}))
    for read in (read_record, lambda path: read_records([path])):
        with pytest.raises(RecordError, match=rf"bad\.parquet: {named}"):
            read(bad)


@pytest.mark.parametrize("changed", ["stream_digest", "fingerprint", "learner_digest"])
def test_a_digest_of_protocol_1_that_is_not_of_its_declarations(tmp_path: Path, changed: str) -> None:
    for path in sorted(REFERENCES.glob("*.split-digits.*.parquet")):
        said = read_record(path).footer
        text = json.dumps({**said.facts(), changed: "0123456789abcdef"})
        bad = reforged(path, tmp_path / "bad.parquet", text=text)
        with pytest.raises(RecordError, match=r"bad\.parquet: .* is .*, what it is made of gives"):
            read_record(bad)


def of(table: pa.Table, **changed: Any) -> pa.Table:
    rows = table.to_pylist()
    rows[3] |= changed
    return pa.Table.from_pylist(rows, schema=table.schema)


@pytest.mark.parametrize("column", ["model", "stream", "stream_digest", "scenario"])
def test_a_column_that_repeats_the_metadata_says_the_same(tmp_path: Path, column: str) -> None:
    good = make_record(tmp_path / "good.parquet", TWO).path
    bad = reforged(good, tmp_path / "bad.parquet", change=lambda table: of(table, **{column: "another"}))
    with pytest.raises(RecordError, match=rf"bad\.parquet: column {column}: must be .* as the metadata say"):
        read_record(bad)


def test_each_row_is_of_an_execution(tmp_path: Path) -> None:
    good = make_record(tmp_path / "good.parquet", TWO).path
    bad = reforged(good, tmp_path / "bad.parquet", change=lambda table: of(table, run="another"))
    with pytest.raises(RecordError, match=r"bad\.parquet: column run: names another"):
        read_record(bad)
