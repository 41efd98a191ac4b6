"""A record whose digests are not those of its own declarations is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from synthetic_records import make_record, matrix, reforged

from nlbench.errors import RecordError
from nlbench.records import NotARecordError, read_record, read_records

TWO = {0: matrix(0.6, 0.9), 3: matrix(0.7, 0.95)}
REFERENCES = Path(__file__).parents[2] / "results" / "reference"


FACTS = {
    "protocol_version": 2,
    "stream_spec": {"stream": {"kind": "split", "tasks": 5, "scenario": "class-il"}, "output_space": "all"},
    "data": {"digits": "abc"},
    "terms": {"passes": 1, "batch": 16, "boundaries": False},
    "evaluation": {"evaluate": "full", "evaluate_every": None},
    "learner_spec": {"learner": {"kind": "mlp", "rate": 0.1}, "presents": "sequential"},
    "code": {"protocol": "0123"},
    "precision": "float32",
}


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
        ({"scenario": "domain-il"}, "scenario is domain-il, what it is made of gives class-il"),
        ({"n_tasks": 6}, "n_tasks is 6, what it is made of gives 5"),
    ],
)
def test_a_digest_that_is_not_of_its_declarations(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    good = make_record(tmp_path / "good.parquet", TWO, **FACTS)
    bad = reforged(good.path, tmp_path / "bad.parquet", text=json.dumps({**good.footer.facts(), **changed}))
    for read in (read_record, lambda path: read_records([path])):
        with pytest.raises(RecordError, match=rf"bad\.parquet: {named}"):
            read(bad)


@pytest.mark.parametrize(
    "key",
    [
        *("stream_spec", "data", "terms", "evaluation", "learner_spec", "code", "precision", "protocol_version"),
        *("stream_digest", "learner_digest", "fingerprint", "scenario", "n_tasks", "model", "stream", "metric_versions"),
    ],
)
def test_what_a_digest_is_made_of_is_required(tmp_path: Path, key: str) -> None:
    """Without it nobody could look whether the digest, whatever it says, is that of what was run."""
    good = make_record(tmp_path / "good.parquet", TWO, **FACTS)
    said = good.footer.facts()
    left, null = ({name: value for name, value in said.items() if name != key}, {**said, key: None})
    for changed in (left, null):
        text = json.dumps({**changed, **({} if key == "fingerprint" else {"fingerprint": "0123456789abcdef"})})
        bad = reforged(good.path, tmp_path / "bad.parquet", text=text)
        with pytest.raises(NotARecordError, match=rf"bad\.parquet: {key}"):
            read_record(bad)
        assert [record.path for record in read_records([good.path, bad])[0]] == [good.path]


@pytest.mark.parametrize("key", ["stream_spec", "data", "learner_spec", "learner_digest", "source_digest", "precision"])
def test_what_a_digest_of_protocol_1_is_made_of_is_required(tmp_path: Path, key: str) -> None:
    spec = {"stream": {"kind": "split"}, "protocol": {"batch": 16, "passes": 1}}
    good = make_record(tmp_path / "good.parquet", TWO, protocol_version=1, stream_spec=spec)
    left = {name: value for name, value in good.footer.facts().items() if name != key}
    bad = reforged(good.path, tmp_path / "bad.parquet", text=json.dumps({**left, "fingerprint": "0123456789abcdef"}))
    with pytest.raises(NotARecordError, match=r"bad\.parquet: .*: is required"):
        read_record(bad)


def test_tasks_that_contradict_each_other_are_said_to(tmp_path: Path) -> None:
    """Else the metrics of the past, null in the record, would be computed."""
    good = make_record(tmp_path / "good.parquet", TWO, conflict=True)
    assert good.metric("forgetting") == {0: None, 3: None}
    left = {name: value for name, value in good.footer.facts().items() if name != "conflict"}
    for said in (left, {**left, "conflict": False}):
        bad = reforged(good.path, tmp_path / "bad.parquet", text=json.dumps(said))
        with pytest.raises(RecordError, match=r"bad\.parquet: conflict is not said"):
            read_record(bad)


@pytest.mark.parametrize(
    "changed",
    [
        {"created": "2099-01-01T00:00:00+00:00"},
        {"device": "cuda"},
        {"backend": None},
        {"environment": {"commit": "0123abcd", "dirty": False}},
    ],
)
def test_what_stands_at_the_top_is_of_the_newest_execution(tmp_path: Path, changed: dict[str, Any]) -> None:
    """By it the gate finds the newest record, and one of a clean tree."""
    good = make_record(tmp_path / "good.parquet", TWO, **FACTS, environment={"commit": "0123abcd", "dirty": True})
    bad = reforged(good.path, tmp_path / "bad.parquet", text=json.dumps({**good.footer.facts(), **changed}))
    with pytest.raises(RecordError, match=rf"bad\.parquet: {next(iter(changed))} is not that of the newest execution in runs"):
        read_record(bad)


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


@pytest.mark.parametrize("name", ["model", "stream"])
def test_another_name_in_the_footer_alone_is_seen_by_those_who_read_many_records(tmp_path: Path, name: str) -> None:
    good = make_record(tmp_path / "good.parquet", TWO)
    bad = reforged(good.path, tmp_path / "bad.parquet", text=json.dumps({**good.footer.facts(), name: "another"}))
    _, notes = read_records([good.path, bad])
    assert notes == [f"skipped {bad}: column {name}: must be another as the metadata say."]


def test_each_row_is_of_an_execution(tmp_path: Path) -> None:
    good = make_record(tmp_path / "good.parquet", TWO).path
    bad = reforged(good, tmp_path / "bad.parquet", change=lambda table: of(table, run="another"))
    with pytest.raises(RecordError, match=r"bad\.parquet: column run: names another"):
        read_record(bad)
