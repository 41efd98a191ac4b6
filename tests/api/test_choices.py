"""What there is to choose from, from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_records import make_record, matrix

from nlbench import api, catalog
from nlbench.metrics import METRICS


def test_only_what_is_asked_for_is_listed(tmp_path: Path) -> None:
    everything = api.listing("all", tmp_path)
    assert set(everything.models) == set(catalog.names("model"))
    assert set(everything.streams) == set(catalog.names("stream"))
    assert [metric.name for metric in everything.metrics] == list(METRICS)
    assert everything.records == ()
    streams = api.listing("streams", tmp_path)
    assert (streams.models, streams.metrics, streams.records) == (None, None, None)
    assert streams.streams["split-digits"]


def test_streams_say_what_they_are_cut_from_and_what_that_is_about() -> None:
    streams = api.listing("streams").streams
    assert streams["split-letters"].endswith("(tables: letters)")
    assert streams["split-r8"].endswith("(text: r8)")


def test_models_say_what_their_learner_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "needs" not in api.listing("models").models["mlp"]
    row = catalog.LEARNERS["mlp"]._replace(needs=("boundaries",), keeps="samples")
    monkeypatch.setitem(catalog.LEARNERS, "mlp", row)
    assert api.listing("models").models["mlp"].endswith("(needs boundaries; keeps samples)")


def test_records_are_listed_and_what_is_none_is_named(tmp_path: Path) -> None:
    path = make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9)}).path
    (tmp_path / "other.parquet").write_text("x")
    found = api.listing("records", tmp_path)
    assert [record.path for record in found.records] == [path]
    assert len(found.skipped) == 1


def test_a_list_without_records_imports_no_reader(tmp_path: Path) -> None:
    """Arrow, the comparison and the gate are half of what a list would take to start."""
    code = "import sys\nfrom nlbench import cli\nsys.argv[1:] = ['list']\ntry:\n    cli.main()\nfinally:\n    print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "nlbench.display.listing" in loaded
    assert not loaded & {"pyarrow", "scipy", "nlbench.records", "nlbench.comparison", "nlbench.gate", "nlbench.plan", "torch"}
