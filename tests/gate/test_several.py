"""Several records judged together: who decides, and who is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from gated_records import OLD, dated, record, shifted, verdicts

from nlbench import gate
from nlbench.errors import UnknownNameError


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """hope and cms on one stream, hope on another."""
    folder = tmp_path / "reference"
    record(folder / "hope.parquet", OLD)
    record(folder / "cms.parquet", OLD, model="cms", fingerprint="of-cms")
    record(folder / "elsewhere.parquet", OLD, stream="permuted-digits", stream_digest="another")
    return folder


def statuses(judgements: list[gate.Judgement]) -> dict[str, int]:
    return {judgement.model: judgement.exit_status for judgement in judgements}


def test_a_learner_with_a_reference_and_no_record_is_missing(tmp_path: Path, references: Path) -> None:
    good = record(tmp_path / "new" / "hope.parquet", OLD)
    found = gate.check_all([good.path], against=references)
    assert statuses(found) == {"hope": 0, "cms": 2}  # and nothing is asked on the stream that was not checked
    assert gate.exit_status(found) == 2
    missing = found[1]
    assert (missing.record, missing.reference, verdicts(missing)) == (None, str(references / "cms.parquet"), {None: "missing"})
    assert "cms has a reference on split-digits and no new record" in gate.to_text(missing)
    assert "record none, reference" in gate.to_text(missing)
    assert json.loads(gate.to_json(found))["judgements"][1]["record"] is None
    assert "### cms on split-digits: cannot be judged" in gate.to_markdown(found)
    assert 'name="cms on split-digits" tests="1" failures="0" errors="1"' in gate.to_junit(found)


def test_only_narrows(tmp_path: Path, references: Path) -> None:
    good = record(tmp_path / "new" / "hope.parquet", OLD)
    assert statuses(gate.check_all([good.path], against=references, only=["hope"])) == {"hope": 0}
    assert statuses(gate.check_all([good.path], against=references, only=["cms"])) == {"cms": 2}
    with pytest.raises(UnknownNameError, match="unknown learner 'hop'"):
        gate.check_all([good.path], against=references, only=["hope", "hop"])


def test_the_references_of_the_package_ask_for_no_record(
    tmp_path: Path, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = record(tmp_path / "new" / "hope.parquet", OLD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nlbench.catalog.REFERENCE", references)
    assert statuses(gate.check_all([good.path])) == {"hope": 0}
    (tmp_path / "results").mkdir()
    references.rename(tmp_path / "results" / "reference")
    assert statuses(gate.check_all([good.path])) == {"hope": 0, "cms": 2}


@pytest.mark.parametrize("better", ["old", "new"])
def test_the_newest_of_one_learner_decides_and_names_the_others(tmp_path: Path, better: str) -> None:
    record(tmp_path / "reference" / "hope.parquet", OLD)
    bad, good = shifted(-0.05), OLD
    old = dated(tmp_path / "new" / "z.parquet", "01", good if better == "old" else bad, fingerprint="before")
    new = dated(tmp_path / "new" / "a.parquet", "02", bad if better == "old" else good, fingerprint="after")
    (found,) = gate.check_all([old.path, new.path], against=tmp_path / "reference")
    assert (found.record, found.older) == (str(new.path), (str(old.path),))
    assert found.exit_status == (1 if better == "old" else 0)
    for text in (gate.to_text(found), gate.to_markdown([found]), gate.to_json([found])):
        assert str(old.path) in text


def test_of_two_learners_and_of_one_second_all_are_judged(tmp_path: Path, references: Path) -> None:
    first = dated(tmp_path / "new" / "a.parquet", "01", OLD)
    same = dated(tmp_path / "new" / "b.parquet", "01", shifted(-0.05), fingerprint="same-second")
    cms = dated(tmp_path / "new" / "c.parquet", "02", OLD, model="cms")
    found = gate.check_all([first.path, same.path, cms.path], against=references)
    assert [judgement.exit_status for judgement in found] == [0, 1, 0]


def test_a_newer_record_that_has_no_reference_fails_and_does_not_hide_the_older_one(tmp_path: Path) -> None:
    """Two references of two terms are two questions; a record of neither gives way to a newer one."""
    for passes in (1, 5):
        record(tmp_path / "reference" / f"{passes}.parquet", OLD, terms={"passes": passes}, fingerprint=f"of-{passes}")
    paths = [
        dated(tmp_path / "new" / f"{day}.parquet", f"{day:02}", final, terms={"passes": passes}, fingerprint=str(day)).path
        for day, (passes, final) in enumerate([(3, OLD), (1, shifted(-0.05)), (5, OLD), (1, OLD)], start=1)
    ]
    found = gate.check_all(paths, against=tmp_path / "reference")
    assert [(judgement.record, judgement.exit_status) for judgement in found] == [(str(paths[2]), 0), (str(paths[3]), 0)]
    assert found[1].older == (str(paths[0]), str(paths[1]))
    newest = dated(tmp_path / "new" / "9.parquet", "09", OLD, terms={"passes": 3}, fingerprint="9").path
    found = gate.check_all([*paths, newest], against=tmp_path / "reference")
    assert {judgement.record: judgement.exit_status for judgement in found} == {
        str(paths[2]): 0,
        str(paths[3]): 0,
        str(newest): 2,
    }
