"""What is shown of declarations and records in full."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from consoles import written
from synthetic_records import make_record, matrix

from nlbench.api.showing import Declaration
from nlbench.display import showing

STREAM = Declaration("stream", "s[1]", 'title = "a [b]"', {"title": "a [b]"})


def test_a_declaration_in_a_file_is_one_that_declares_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch, showing, "out", width=20) as text:
        showing.show([STREAM], as_json=False)
    assert text.getvalue().startswith("# s[1], a stream\n")
    assert tomllib.loads(text.getvalue()) == STREAM.table


def test_what_a_learner_needs_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ewc = Declaration("learner", "ewc", 'title = "t"', {"title": "t"}, ("boundaries",))
    with written(monkeypatch, showing, "out", terminal=True) as text:
        showing.show([ewc], as_json=False)
    assert "needs boundaries" in text.getvalue().splitlines()[0]
    showing.show([ewc], as_json=True)
    assert json.loads(capsys.readouterr().out)["needs"] == ["boundaries"]


def test_a_records_provenance_is_sorted_whole_and_says_nothing_of_what_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"commit": None, "cores": 4, "packages": {"numpy": "2"}}
    record = make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9)}, environment=environment, note=["x"])
    with written(monkeypatch, showing, "out", width=200) as text:
        showing.show([record], as_json=False)
    keys = [line.split()[0] for line in text.getvalue().splitlines() if line.strip() and "provenance" not in line]
    assert keys == sorted(keys)
    assert {"environment.cores", "environment.packages.numpy", "learner_spec.learner.width", "note", "fingerprint"} <= set(keys)
    assert not {"environment.commit", "runs", "gpu"} & set(keys)


def test_json_is_one_value_or_a_list_of_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9)})
    showing.show([STREAM], as_json=True)
    assert json.loads(capsys.readouterr().out) == {"kind": "stream", "name": "s[1]", "declaration": {"title": "a [b]"}}
    showing.show([STREAM, record], as_json=True)
    first, second = json.loads(capsys.readouterr().out)
    assert first["name"] == "s[1]"
    assert second["metadata"]["runs"][0]["seeds"] == second["seeds"] == [0]
