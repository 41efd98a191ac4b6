"""What is done with files from Python."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from synthetic_records import make_record, matrix

from nlbench import api
from nlbench.errors import RecordError

OLDEST = Path(__file__).parents[1] / "records" / "data" / "schema-1.parquet"


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


def test_export_counts_records_and_names_what_it_skipped(tmp_path: Path) -> None:
    for model in ("mlp", "cms"):
        make_record(tmp_path / "r" / f"{model}.parquet", {0: matrix(0.6, 0.9)}, model=model, fingerprint=model)
    (tmp_path / "r" / "other.parquet").write_text("x")
    done = api.export([tmp_path / "r"], tmp_path / "all.parquet")
    assert (done.path, done.records, len(done.skipped)) == (tmp_path / "all.parquet", 2, 1)
    assert set(pq.read_table(done.path)["model"].to_pylist()) == {"mlp", "cms"}


def test_migrate_says_whether_there_was_anything_to_do(tmp_path: Path) -> None:
    old = Path(shutil.copy(OLDEST, tmp_path / "old.parquet"))
    api.migrate(old)
    assert not api.migrate(old)


def test_prune_deletes_nothing_unless_asked(tmp_path: Path) -> None:
    left = tmp_path / ".r.parquet.1.tmp"
    left.touch()
    assert api.prune(tmp_path) == {left: "left over"}
    assert left.exists()
    api.prune(tmp_path, delete=True)
    assert not left.exists()
    with pytest.raises(RecordError, match="is not a folder"):
        api.prune(tmp_path / "absent")
