"""What files declare, and every rule that they break, from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_records import make_record, matrix

from nlbench import api


def test_validate_answers_for_each_file_and_stops_at_none(tmp_path: Path) -> None:
    texts = {
        "good.toml": '[learner]\nkind = "mlp"\n',
        "bad.toml": 'titel = 1\n[learner]\nkind = "mlp"\nrate = "fast"\n',
        "external.toml": '[learner]\nkind = "./absent.py:X"\n',
        "cut.parquet": "PAR1",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    make_record(tmp_path / "r.parquet", {0: matrix(0.6, 0.9)})
    paths = [*(tmp_path / name for name in texts), tmp_path / "r.parquet", tmp_path / "absent.toml"]
    found = api.validate(paths)
    assert [one.path for one in found] == paths
    assert [one.kind for one in found] == ["learner", "", "learner", "", "record", ""]
    assert [len(one.problems) for one in found] == [0, 2, 0, 1, 0, 1]


def test_validate_opens_and_imports_nothing_that_a_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that exists, with a trace of its import: named as learner, network, stream kind and source."""
    package = tmp_path / "planted"
    package.mkdir()
    for file in ("__init__.py", "inside.py"):
        (package / file).write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    texts = {
        "learner": '[learner]\nkind = "planted.inside:X"\n',
        "network": '[learner]\nkind = "naive"\noptimizer = {kind = "sgd", rate = 0.1}\nnetwork = {kind = "planted.inside:X"}\n',
        "stream": 'title = "x"\n[stream]\nkind = "planted.inside:X"\ntasks = 2\n[protocol]\nbatch = 8\n',
        "source": 'title = "x"\n[stream]\nkind = "split"\nsource = "planted.inside:X"\ntasks = 3\n[protocol]\nbatch = 8\n',
        "device": 'title = "x"\n[stream]\nkind = "split"\nsource = "/dev/stdin.py:X"\ntasks = 3\n[protocol]\nbatch = 8\n',
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text)
        (found,) = api.validate([tmp_path / f"{name}.toml"])
        assert found.problems == (), name
    assert not (tmp_path / "imported").exists()
    (tmp_path / "bad.toml").write_text(texts["source"].replace("batch = 8", "batch = 0"))
    assert "protocol.batch" in api.validate([tmp_path / "bad.toml"])[0].problems[0]
