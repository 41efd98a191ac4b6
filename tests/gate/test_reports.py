"""Judgements as text, Markdown, JUnit XML, annotations and JSON."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from gated_records import OLD, record, shifted

from nlbench import gate


def test_reports(tmp_path: Path, reference: Path) -> None:
    bad = gate.check(record(tmp_path / "new.parquet", shifted(-0.05), backend="numba"), against=reference)
    good = gate.check(record(tmp_path / "same.parquet", OLD), against=reference)
    root = ElementTree.fromstring(gate.to_junit([bad, good]).partition("\n")[2])
    assert [(suite.get("tests"), suite.get("failures"), suite.get("errors")) for suite in root] == [
        ("2", "2", "0"),
        ("2", "0", "0"),
    ]
    assert root[0][1].get("name") == "forgetting"
    assert root[0][1][0].get("type") == "worse"
    text = gate.to_markdown([bad, good])
    assert "### hope on split-digits: worse than the reference" in text
    assert "| forgetting | worse | 0.1988 | 0.1490 | +0.0498 | +0.0488 … +0.0508 | 0.02 | 5 pairs |" in text
    assert "average accuracy 0.831 (chance 0.100), learning accuracy 0.950 (chance 0.500)" in text
    assert "- `backend`: numba / reference" in text
    lines = gate.to_annotations([bad, good])
    assert len(lines) == 2
    assert lines[1].startswith("::error title=hope on split-digits%3A worse::forgetting: degradation +0.0498, at least +0.0488")
    plain = json.loads(gate.to_json([bad, good]))
    assert plain["exit_status"] == 1
    assert plain["judgements"][0]["findings"][1]["verdict"] == "worse"
    assert "worse  forgetting: degradation" in gate.to_text(bad)


def test_annotations_cannot_be_broken_by_a_name() -> None:
    finding = gate.Finding(None, "missing", "100 %\nsure::error::")
    (line,) = gate.to_annotations([gate.Judgement("r", None, "a,b:c", "s", (finding,), (), {})])
    assert line == "::error title=a%2Cb%3Ac on s%3A missing::record: 100 %25%0Asure::error::"
