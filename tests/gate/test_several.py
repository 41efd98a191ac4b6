"""Several records judged together: who decides, and who is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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


def statuses(judgements: list[gate.Judgement]) -> dict[tuple[str, str], int]:
    return {(judgement.model, judgement.stream): judgement.exit_status for judgement in judgements}


def test_a_learner_with_a_reference_and_no_record_is_missing(tmp_path: Path, references: Path) -> None:
    good = record(tmp_path / "new" / "hope.parquet", OLD)
    elsewhere = record(tmp_path / "new" / "elsewhere.parquet", OLD, stream="permuted-digits", stream_digest="another")
    found = gate.check_all([good.path, elsewhere.path], against=references)
    assert statuses(found) == {("hope", "split-digits"): 0, ("hope", "permuted-digits"): 0, ("cms", "split-digits"): 2}
    assert gate.exit_status(found) == 2
    missing = found[-1]
    assert (missing.record, missing.reference, verdicts(missing)) == (None, str(references / "cms.parquet"), {None: "missing"})
    assert "cms has a reference on split-digits and no new record" in gate.to_text(missing)
    assert "record none, reference" in gate.to_text(missing)
    assert json.loads(gate.to_json(found))["judgements"][-1]["record"] is None
    assert "### cms on split-digits: cannot be judged" in gate.to_markdown(found)
    assert 'name="cms on split-digits" tests="1" failures="0" errors="1"' in gate.to_junit(found)


def test_a_reference_on_a_stream_of_which_no_record_is_given_asks_for_one(tmp_path: Path, references: Path) -> None:
    paths = [record(tmp_path / "new" / f"{name}.parquet", OLD, model=name, fingerprint=name).path for name in ("hope", "cms")]
    found = gate.check_all(paths, against=references)
    assert statuses(found) == {("hope", "split-digits"): 0, ("cms", "split-digits"): 0, ("hope", "permuted-digits"): 2}
    assert "hope has a reference on permuted-digits and no new record" in gate.to_text(found[-1])


def test_a_record_of_what_the_stream_has_become_is_the_finding_on_it(tmp_path: Path) -> None:
    record(tmp_path / "reference" / "hope.parquet", OLD)
    (found,) = gate.check_all(
        [record(tmp_path / "hope.parquet", OLD, stream_digest="changed").path], against=tmp_path / "reference"
    )
    assert verdicts(found) == {None: "mismatched"}


@pytest.mark.parametrize("damage", [lambda content: content[:-40], lambda content: b"PAR1", lambda content: content[::-1]])
def test_a_reference_that_cannot_be_read_fails_unless_another_is_asked_for(damage: Any, tmp_path: Path, references: Path) -> None:
    good = record(tmp_path / "new" / "hope.parquet", OLD)
    (references / "elsewhere.parquet").unlink()
    cms = references / "cms.parquet"
    cms.write_bytes(damage(cms.read_bytes()))
    first, unread = gate.check_all([good.path], against=references)
    assert (first.exit_status, unread.exit_status, verdicts(unread)) == (0, 2, {None: "missing"})
    assert f"{cms} is not a Parquet file" in gate.to_text(unread)
    assert "Which learner it asks for is not known" in gate.to_markdown([unread])
    assert len(gate.check_all([good.path], against=references, only=["hope"])) == 1


def test_only_and_stream_narrow(tmp_path: Path, references: Path) -> None:
    good = record(tmp_path / "new" / "hope.parquet", OLD)

    def found(**narrowed: list[str]) -> dict[tuple[str, str], int]:
        return statuses(gate.check_all([good.path], against=references, **narrowed))

    assert found(only=["hope"], streams=["split-digits"]) == {("hope", "split-digits"): 0}
    assert found(only=["hope"]) == {("hope", "split-digits"): 0, ("hope", "permuted-digits"): 2}
    assert found(streams=["split-digits"]) == {("hope", "split-digits"): 0, ("cms", "split-digits"): 2}
    assert found(only=["cms"]) == {("cms", "split-digits"): 2}
    assert found(streams=["permuted-digits"]) == {("hope", "permuted-digits"): 2}
    for narrowed, message in (({"only": ["hope", "hop"]}, "learner 'hop'"), ({"streams": ["split"]}, "stream 'split'")):
        with pytest.raises(UnknownNameError, match=f"unknown {message}"):
            found(**narrowed)


def test_the_references_of_the_package_ask_for_no_record(
    tmp_path: Path, references: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = record(tmp_path / "new" / "hope.parquet", OLD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nlbench.catalog.REFERENCE", references)
    assert statuses(gate.check_all([good.path])) == {("hope", "split-digits"): 0}
    (tmp_path / "results").mkdir()
    references.rename(tmp_path / "results" / "reference")
    assert len(gate.check_all([good.path])) == 3


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
    found = gate.check_all([first.path, same.path, cms.path], against=references, streams=["split-digits"])
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
