"""What a name stands for, from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_records import make_record, matrix

from nlbench import api, catalog
from nlbench.api.showing import Declaration
from nlbench.errors import RecordError, SpecError, UnknownNameError
from nlbench.records import Record


def test_a_model_says_what_its_learner_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.LEARNERS, "mlp", catalog.LEARNERS["mlp"]._replace(needs=("boundaries",)))
    assert [one.needs for one in api.named(["mlp", "hope", "split-digits"])] == [("boundaries",), (), ()]


def test_a_name_stands_for_a_stream_a_model_a_file_or_a_record(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[learner]\nkind = "mlp"\n')
    path = make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9)}).path
    stream, model, mine, record = api.named(["split-digits", "mlp", str(tmp_path / "mine.toml"), str(path)])
    for found, kind, name in ((stream, "stream", "split-digits"), (model, "learner", "mlp"), (mine, "learner", "mine")):
        assert isinstance(found, Declaration)
        assert (found.kind, found.name) == (kind, name)
    assert mine.table == {"learner": {"kind": "mlp"}}
    assert isinstance(record, Record)
    with pytest.raises(UnknownNameError, match="Did you mean split-digits"):
        api.named(["split-digit"])


def test_plain_fine_tuning_under_its_usual_names_leads_to_mlp_which_says_so() -> None:
    for name in catalog.PLAIN:
        with pytest.raises(UnknownNameError, match="Plain fine-tuning, the naive bound, is the model mlp"):
            api.named([name])
    (mlp,) = api.named(["mlp"])
    assert isinstance(mlp, Declaration)
    assert mlp.table["title"].startswith("Plain fine-tuning, the naive bound:")


def test_a_claim_and_a_grid_are_shown_as_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text('models = ["mlp"]\nstreams = ["split-digits"]\n')
    claim, grid = api.named(["two-languages", str(tmp_path / "grid.toml")])
    assert [(one.kind, one.name) for one in (claim, grid)] == [("claim", "two-languages"), ("grid", "grid")]
    (tmp_path / "claim.toml").write_text("holds = []\n")
    with pytest.raises(SpecError, match=r"claim\.toml: title: is required"):
        api.named([str(tmp_path / "claim.toml")])


def test_a_folder_stands_for_its_only_record_and_otherwise_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="is a folder without records"):
        api.named([str(tmp_path)])
    path = make_record(tmp_path / "reference" / "r.parquet", {0: matrix(0.6, 0.9)}).path
    assert api.named([str(tmp_path)])[0].path == path
    for name in ("a", "b"):
        make_record(tmp_path / f"{name}.parquet", {0: matrix(0.6, 0.9)}, model=name)
    with pytest.raises(RecordError, match=r"a folder of 2 records\. Name one, such as .*a\.parquet, or list them"):
        api.named([str(tmp_path)])
