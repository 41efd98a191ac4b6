"""Where a reference is found, what it allows, and what may take its place."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from gated_records import MARGINS, OLD, record, shifted, verdicts
from synthetic_records import make_record, matrix

from nlbench import gate
from nlbench.errors import RecordError
from nlbench.records import Record, Row, environment, read_record


def test_missing_reference(tmp_path: Path, reference: Path) -> None:
    new = record(tmp_path / "new.parquet", OLD, model="cms")
    for against in (reference, tmp_path / "absent", tmp_path / "absent.parquet"):
        judgement = gate.check(new, against=against)
        assert verdicts(judgement) == {None: "missing"}
        assert judgement.exit_status == 2
        assert "--update" in judgement.findings[0].reason


def test_missing_margins(tmp_path: Path) -> None:
    for table in ({}, {"min_seeds": 5}):
        record(tmp_path / "reference" / "hope.parquet", OLD, check=table)
        judgement = gate.check(record(tmp_path / "new.parquet", OLD), against=tmp_path / "reference")
        assert verdicts(judgement) == {None: "missing"}
        assert judgement.exit_status == 2


@pytest.mark.parametrize(
    "table", [{"forgeting": 0.1}, {"forgetting": -1}, {"forgetting": 0}, {"forgetting": 0.1, "min_seeds": 1}]
)
def test_a_wrong_table_of_margins_is_an_error(tmp_path: Path, table: dict[str, float]) -> None:
    record(tmp_path / "reference" / "hope.parquet", OLD, check=table)
    with pytest.raises(RecordError, match="table is wrong"):
        gate.check(record(tmp_path / "new.parquet", OLD), against=tmp_path / "reference")


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"stream_digest": "another"}, "stream_spec.mine: another / None"),
        (
            {"stream_digest": "another", "stream_spec": {"stream": {"kind": "permuted"}}},
            "stream_spec.stream.kind: permuted / split",
        ),
        ({"data": {"digits": "changed"}}, "data.digits: changed / sha256-of-digits"),
        ({"protocol_version": 3}, "protocol_version: 3 / 2"),
    ],
)
def test_mismatched(tmp_path: Path, reference: Path, facts: dict[str, Any], named: str) -> None:
    judgement = gate.check(record(tmp_path / "new.parquet", OLD, **facts), against=reference)
    assert verdicts(judgement) == {None: "mismatched"}
    assert named in judgement.findings[0].reason
    assert judgement.exit_status == 2


def test_margins_come_from_the_reference(tmp_path: Path, reference: Path) -> None:
    generous = record(tmp_path / "new.parquet", shifted(-0.05), check={"forgetting": 0.5, "min_seeds": 2})
    judgement = gate.check(generous, against=reference)
    assert judgement.findings[1].margin == 0.02
    assert judgement.exit_status == 1


def test_two_references_are_an_error(tmp_path: Path, reference: Path) -> None:
    record(reference / "second.parquet", OLD, fingerprint="another")
    with pytest.raises(RecordError, match="two references of hope"):
        gate.check(record(tmp_path / "new.parquet", OLD), against=reference)


def test_a_file_can_be_the_reference(tmp_path: Path, reference: Path) -> None:
    assert gate.check(record(tmp_path / "new.parquet", OLD), against=reference / "hope.parquet").exit_status == 0


def test_a_damaged_reference_beside_others_is_not_silently_missing(tmp_path: Path, reference: Path) -> None:
    record(reference / "cms.parquet", OLD, model="cms", fingerprint="cms")
    (reference / "hope.parquet").write_bytes(b"PAR1")
    judgement = gate.check(record(tmp_path / "new.parquet", OLD), against=reference)
    assert verdicts(judgement) == {None: "missing"}
    assert "hope.parquet is not a Parquet file" in judgement.findings[0].reason


def test_a_record_is_not_judged_against_itself(tmp_path: Path, reference: Path) -> None:
    judgement = gate.check(reference / "hope.parquet", against=reference)
    assert verdicts(judgement) == {None: "missing"}
    assert judgement.exit_status == 2
    assert "itself" in judgement.findings[0].reason


def test_update_writes_a_first_reference(tmp_path: Path) -> None:
    new = record(tmp_path / "new.parquet", OLD)
    done = gate.update(new.path, against=tmp_path / "reference")
    assert done.written
    assert read_record(done.reference).footer.check.facts() == MARGINS
    assert gate.check(new, against=tmp_path / "reference").exit_status == 0


def test_update_keeps_the_best_not_the_last(tmp_path: Path, reference: Path) -> None:
    """Each of these passes the gate against the last one; together they would lose .05."""
    for step in range(1, 6):
        path = record(tmp_path / f"{step}.parquet", [value - 0.01 * step for value in OLD], fingerprint=f"f{step}").path
        if step == 1:
            assert gate.check(path, against=reference).exit_status == 0
        done = gate.update(path, against=reference)
        assert not done.written
        assert "better on average_accuracy, by 0.0" in done.reason
        assert ", and on forgetting, by 0.0" in done.reason
    assert gate.check(path, against=reference).exit_status == 1
    gained = record(tmp_path / "gained.parquet", [value + 0.01 for value in OLD], fingerprint="gained").path
    assert gate.update(gained, against=reference).written
    assert [file.name for file in reference.iterdir()] == ["gained.parquet"]
    assert not gate.update(gained, against=reference).written


def test_update_takes_over_margins_where_the_numbers_are_as_good(tmp_path: Path, reference: Path) -> None:
    tighter = {"average_accuracy": 0.01, "forgetting": 0.01, "min_seeds": 5}
    done = gate.update(record(tmp_path / "new.parquet", OLD, check=tighter).path, against=reference)
    assert done.written
    assert "forgetting: 0.02" in done.reason
    (path,) = reference.iterdir()
    assert read_record(path).footer.check.facts() == tighter


UNCOMMITTED = {"environment": {"commit": "0123", "dirty": False, "project": {"commit": None, "dirty": True}}}


@pytest.mark.parametrize(
    ("final", "facts", "message"),
    [
        (OLD, {"environment": {"commit": "0123", "dirty": True}}, "clean tree"),
        (OLD, {"environment": {"commit": None, "dirty": None}}, "no repository"),
        (OLD, UNCOMMITTED, r"not all of its code was committed when it was made\. Commit it, run it anew with --force"),
        (
            OLD,
            UNCOMMITTED | {"files": {"model": "./a.py:L", "learner.kind": "./a.py:L", "stream": "./s.toml"}},
            r"committed when it was made: \./a\.py, or what is imported there\. Commit it",
        ),
        (OLD[:4], {}, "it has 4 seeds, a reference needs 5"),
        (OLD, {"check": {"average_accuracy": 0.02}}, "it has 5 seeds, a reference needs 10"),
        (OLD, {"check": {}}, "no margins"),
        (OLD, {"learned": 0.5}, "chance"),
        (OLD, {"check": {"min_accuracy": 0.1, "min_seeds": 5}}, "min_accuracy is null"),
    ],
)
def test_update_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, final: list[float], facts: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = record(tmp_path / "new.parquet", final, **facts).path
    with pytest.raises(RecordError, match=message):
        gate.update(path, against=tmp_path / "reference")
    assert not (tmp_path / "reference").exists()


@pytest.mark.parametrize(
    ("state", "clean"),
    [
        ({"commit": None, "dirty": None, "project": {"commit": "0123", "dirty": False}}, True),
        ({"commit": None, "dirty": None, "project": {"commit": "0123", "dirty": True}}, False),
        ({"commit": "0123", "dirty": False, "project": {"commit": "4567", "dirty": True}}, False),
        ({"commit": "0123", "dirty": True, "project": {"commit": "4567", "dirty": False}}, False),
        ({"commit": "0123", "dirty": False, "project": {"commit": None, "dirty": None}}, True),
    ],
)
def test_update_asks_for_the_tree_in_which_the_run_was_made(tmp_path: Path, state: dict[str, Any], clean: bool) -> None:
    path = record(tmp_path / "new.parquet", OLD, environment=state).path
    if clean:
        assert gate.update(path, against=tmp_path / "reference").written
    else:
        with pytest.raises(RecordError, match="clean tree"):
            gate.update(path, against=tmp_path / "reference")


@pytest.mark.parametrize(
    ("new", "said"),
    [
        ([], r"clean tree\. Commit, run it anew"),
        (["a.py"], r"Commit or ignore what differs now \(a\.py\), run it anew"),
        (
            ["a.py", "b c.py", "c/d.py", "e.py", "f.py"],
            r"Commit or ignore what differs now \(a\.py, b c\.py, c/ and 2 more\), run it anew",
        ),
    ],
)
def test_a_tree_that_was_not_clean_names_what_differs_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "_CHECKOUT", tmp_path / "nowhere")
    subprocess.run(["git", "init", "-q"], check=True)
    for file in map(Path, new):
        file.parent.mkdir(exist_ok=True)
        file.touch()
    path = record(tmp_path / "new" / "new.parquet", OLD, environment={"commit": "0123", "dirty": True}).path
    with pytest.raises(RecordError, match=said):
        gate.update(path, against=tmp_path / "reference")


def test_update_is_not_fooled_by_the_few_seeds_in_common(tmp_path: Path, reference: Path) -> None:
    worse = record(tmp_path / "new.parquet", [0.9, 0.1, 0.1, 0.1, 0.1], first_seed=4, fingerprint="new")
    assert gate.check(worse, against=reference).exit_status == 1
    done = gate.update(worse.path, against=reference)
    assert not done.written
    assert "better on average_accuracy" in done.reason


TERMS = {"passes": 1, "batch": 16, "boundaries": False}


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"passes": 4}, "terms.passes: 4 / 1"), ({"boundaries": True}, "terms.boundaries: True / False")],
)
def test_other_passes_or_boundaries_are_mismatched(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    record(tmp_path / "reference" / "hope.parquet", OLD, terms=TERMS)
    judgement = gate.check(record(tmp_path / "new.parquet", OLD, terms={**TERMS, **changed}), against=tmp_path / "reference")
    assert verdicts(judgement) == {None: "mismatched"}
    assert named in judgement.findings[0].reason
    record(tmp_path / "reference" / "other.parquet", OLD, terms={**TERMS, **changed}, fingerprint="other", run="r2")
    judgement = gate.check(tmp_path / "new.parquet", against=tmp_path / "reference")
    assert verdicts(judgement) == {"average_accuracy": "ok", "forgetting": "ok"}
    assert str(judgement.reference).endswith("other.parquet")


def test_another_batch_is_printed_and_judged(tmp_path: Path) -> None:
    record(tmp_path / "reference" / "hope.parquet", OLD, terms=TERMS)
    judgement = gate.check(record(tmp_path / "new.parquet", OLD, terms={**TERMS, "batch": 4}), against=tmp_path / "reference")
    assert verdicts(judgement) == {"average_accuracy": "ok", "forgetting": "ok"}
    assert "terms.batch: 4 / 16" in map(str, judgement.changed)
    record(tmp_path / "reference" / "small.parquet", OLD, terms={**TERMS, "batch": 4}, fingerprint="small", run="r2")
    judgement = gate.check(tmp_path / "new.parquet", against=tmp_path / "reference")
    assert str(judgement.reference).endswith("small.parquet")


def test_a_reference_of_an_older_protocol_is_mismatched_with_the_way_out(tmp_path: Path) -> None:
    record(tmp_path / "reference" / "hope.parquet", OLD, protocol_version=1)
    judgement = gate.check(record(tmp_path / "new.parquet", OLD, protocol_version=2), against=tmp_path / "reference")
    assert verdicts(judgement) == {None: "mismatched"}
    assert judgement.findings[0].reason.endswith(f"Make the reference anew: nlbench check {tmp_path / 'new.parquet'} --update")


def test_what_was_measured_at_another_pace_is_mismatched(tmp_path: Path) -> None:
    def made(path: Path, every: int) -> Record:
        extra = [
            Row(seed, after, on, after * 100 + at, "accuracy_within", 0.9, 50)
            for seed in range(5)
            for after in range(5)
            for on in range(1, after + 2)
            for at in range(0, 100, every)
        ]
        matrices = {seed: matrix(value, 0.95) for seed, value in enumerate(OLD)}
        facts = {"evaluation": {"evaluate": "full", "evaluate_every": every}, "check": {"min_accuracy": 0.1, "forgetting": 0.1}}
        return make_record(path, matrices, extra=extra, model="hope", fingerprint=f"of-{every}", **facts)

    made(tmp_path / "reference" / "hope.parquet", 50)
    judgement = gate.check(made(tmp_path / "new.parquet", 25), against=tmp_path / "reference")
    assert verdicts(judgement) == {"min_accuracy": "mismatched", "forgetting": "ok"}
    assert "min_accuracy is measured every 25 / 50 samples" in gate.to_text(judgement)
    assert set(verdicts(gate.check(made(tmp_path / "same.parquet", 50), against=tmp_path / "reference")).values()) == {"ok"}
