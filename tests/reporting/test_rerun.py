"""The command that makes a record again."""

from __future__ import annotations

import shlex

import pytest
from planned_records import MADE_ANEW, recorded
from synthetic_records import make_record, matrix

from nlbench import plan
from nlbench.errors import DataError
from nlbench.reporting import rerun
from nlbench.reporting.rerun import seeds_text


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"learner.hidden": "[7, 9]", "learner.rate": "0.03"},
        {"stream.scenario": "task-il", "protocol.passes": "2", "protocol.prequential": "true"},
        {"protocol.evaluate_every": "none"},
        {"protocol.batch": "8"},
        {"batch": "8"},
        {"protocol.batch": "8", "batch": "4", "presents": "cumulative"},
    ],
    ids=str,
)
def test_rerun_resolves_to_the_same_fingerprint(tmp_path, overrides):
    record = recorded(tmp_path, "mlp", "split-digits", overrides)
    again = rerun(record)
    words = shlex.split(again.command)
    assert words[:8] == ["nlbench", "run", "--model", "mlp", "--stream", "split-digits", "--seeds", "2"]
    given = dict(words[index + 1].split("=", 1) for index, word in enumerate(words) if word == "--set")
    assert plan.resolve("mlp", "split-digits", seeds=record.seeds, overrides=given).fingerprint == record.fingerprint
    assert again.remark.startswith("Same fingerprint")
    own = {"batch" if key == "protocol.batch" else key for key in overrides}  # the batch counts, not who decided it
    assert given.keys() <= own


@pytest.mark.parametrize(
    "overrides",
    [
        {"learner.optimizer": '{ kind = "adam", rate = 0.3 }'},  # the rate of the recipe's SGD
        {"learner.optimizer.kind": "adam"},
        {"learner.network.kind": "convolutional"},
    ],
    ids=str,
)
def test_rerun_says_all_of_an_inner_table_of_another_kind(tmp_path, overrides):
    again = rerun(recorded(tmp_path, "er", "split-digits", overrides))
    assert again.remark.startswith("Same fingerprint")


def test_rerun_keeps_the_precision(tmp_path):
    again = rerun(recorded(tmp_path, "mlp", "split-digits", {}, precision="bf16"))
    assert again.command == "nlbench run --model mlp --stream split-digits --seeds 2 --precision bf16"
    assert again.remark.startswith("Same fingerprint")


def test_rerun_says_what_has_changed_since(tmp_path):
    facts = plan.resolve("mlp", "split-digits", seeds=(0,)).describe() | {"code": {"learner": "older code"}}
    facts = {name: fact for name, fact in facts.items() if name not in {*MADE_ANEW, "n_tasks"}}
    record = make_record(tmp_path / "a.parquet", {0: matrix(0.5, 0.9)}, environment={"commit": "c0ffee" * 7}, **facts)
    remark = rerun(record).remark
    assert (
        remark == "Another fingerprint with this version: the code that runs changed since. It was made at commit c0ffeec0ffee."
    )


def test_rerun_of_what_is_not_declared_here_says_so(tmp_path):
    record = make_record(tmp_path / "a.parquet", {0: matrix(0.5, 0.9)}, model="nobody-knows-it")
    again = rerun(record)
    assert "nobody-knows-it" in again.command
    assert again.remark.startswith("Not reconstructed")


@pytest.mark.parametrize(
    "overrides",
    [{}, {"learner.lr": "0.3", "learner.network.width": "7"}, {"protocol.passes": "3", "batch": "4", "learner.name": "a b"}],
    ids=str,
)
def test_rerun_of_a_learner_of_one_s_own_keeps_what_was_set(tmp_path, overrides, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("import nlbench\n\n\nclass L(nlbench.Learner):\n    pass\n")
    record = recorded(tmp_path, "./mine.py:L", "split-digits", overrides)
    words = shlex.split(rerun(record).command)
    assert words[:8] == ["nlbench", "run", "--model", "./mine.py:L", "--stream", "split-digits", "--seeds", "2"]
    given = dict(words[index + 1].split("=", 1) for index, word in enumerate(words) if word == "--set")
    assert given.keys() == overrides.keys()
    assert plan.resolve(words[3], "split-digits", seeds=record.seeds, overrides=given).fingerprint == record.fingerprint


NETWORK = "import torch\n\n\nclass Net(torch.nn.Linear):\n    pass\n"
RECIPE = """title = "Mine"
[learner]
kind = "naive"
network = { kind = "module", build = "./sub/net.py:Net" }
"""
STREAM = """title = "Mine"
[stream]
kind = "split"
source = "./sub/rows.csv"
tasks = 2
scenario = "class-il"
[protocol]
batch = 8
"""


@pytest.mark.parametrize(
    ("model", "stream", "said"),
    [
        ("ncm", "./sub/rows.csv", "--stream ./sub/rows.csv"),
        ("ncm", "sub/mine.toml", "--stream ./sub/mine.toml"),
        ("./sub/mine.toml", "split-digits", "--model ./sub/mine.toml"),
        ("./sub/mine.toml", "split-digits", "--set learner.network.build=./sub/net.py:Net"),
        ("./sub/net.py:L", "split-digits", "--model ./sub/net.py:L"),
        ("ncm", "/elsewhere/rows.csv", "--stream ./rows.csv"),
    ],
)
def test_files_are_named_where_they_lay_when_the_record_was_made(tmp_path, monkeypatch, model, stream, said):
    monkeypatch.chdir(tmp_path)
    for folder in ("here/sub", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "rows.csv").write_text("x,label\n" + "".join(f"{i},{i % 4}\n" for i in range(40)))
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here/sub/net.py").write_text(f"{NETWORK}\n\nimport nlbench\n\n\nclass L(nlbench.Learner):\n    pass\n")
    (tmp_path / "here/sub/mine.toml").write_text(STREAM if stream.endswith(".toml") else RECIPE)
    stream = stream.replace("/elsewhere", str(tmp_path / "elsewhere"))
    overrides = {"stream.tasks": "2"} if stream.endswith(".csv") else {}
    assert said in rerun(recorded(tmp_path, model, stream, overrides)).command


def test_the_test_file_of_a_record_is_named_where_it_lay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("train", "test"):
        (tmp_path / "sub" / f"{name}.csv").write_text("x,label\n" + "".join(f"{i},{i % 4}\n" for i in range(40)))
    overrides = {"stream.tasks": "2", "stream.read.test": "./sub/test.csv"}
    command = rerun(recorded(tmp_path, "ncm", "./sub/train.csv", overrides)).command
    assert "--stream ./sub/train.csv" in command
    assert "--set stream.read.test=./sub/test.csv" in command


def test_a_data_file_that_only_a_record_names_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "rows.csv"
    file.write_text("x,label\n" + "".join(f"{i},{i % 4}\n" for i in range(40)))
    record = recorded(tmp_path, "ncm", "./rows.csv", {"stream.tasks": "2"})
    said = rerun(record)
    assert said.remark.startswith("Same fingerprint")
    file.write_text("no rows\n")
    assert rerun(record) == said
    file.unlink()
    assert rerun(record) == said


@pytest.mark.parametrize(("seeds", "text"), [((0, 1, 2), "3"), ((3,), "3,"), ((1, 4), "1,4"), ((0,), "1")])
def test_seeds_as_the_command_takes_them(seeds, text):
    assert seeds_text(seeds) == text


def test_nothing_that_a_record_names_is_opened_or_imported(tmp_path, monkeypatch):
    package = tmp_path / "planted"
    package.mkdir()
    for file in ("__init__.py", "inside.py"):
        (package / file).write_text(f"open({str(tmp_path / 'imported')!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    declared = plan.resolve("mlp", "split-digits", seeds=(0,)).describe()
    stream = tmp_path / "stream.toml"
    stream.write_text("secret\n")
    own = {"learner_spec": {**declared["learner_spec"], "learner": {"kind": "planted.inside:X"}}, "model": "X"}
    network = {"learner": {"kind": "naive", "network": {"kind": "planted.inside:X"}, "optimizer": {"kind": "sgd", "rate": 0.1}}}
    source = {
        "stream_spec": {"stream": {**declared["stream_spec"]["stream"], "source": "planted.inside:X"}, "output_space": "all"}
    }
    for facts in (own, {"learner_spec": network}, source, {"stream": str(stream)}, {"stream": "/dev/zero.toml"}):
        record = make_record(tmp_path / "a.parquet", {0: matrix(0.5, 0.9)}, **facts)
        again = rerun(record)
        assert again.remark.startswith("Not reconstructed")
        assert "secret" not in again.remark
        assert not (tmp_path / "imported").exists()


def test_a_stream_that_is_given_stands_for_the_data_that_the_record_names(tmp_path, monkeypatch):
    """Data of another name beside the record's own: it is they that run, and they are told apart."""
    monkeypatch.chdir(tmp_path)
    for name, step in (("rows", 1), ("others", 3)):
        (tmp_path / f"{name}.csv").write_text("x,label\n" + "".join(f"{step * i},{i % 4}\n" for i in range(40)))
        cut = f'title = "x"\n[stream]\nkind = "split"\nsource = "./{name}.csv"\ntasks = 2\n[protocol]\nbatch = 32\n'
        (tmp_path / f"{name}.toml").write_text(cut)
    record = recorded(tmp_path, "ncm", "./rows.csv", {"stream.tasks": "2"})
    for given in ("./others.csv", "./others.toml"):
        again = rerun(record, stream=given)
        assert "stream.source" not in again.command
        assert list(again.plan.declared.data.values()) != list(record.footer.data.values())
        assert again.remark.startswith("Another fingerprint")
        assert "the data changed since" in again.remark


def test_a_stream_of_the_package_that_is_given_is_not_made_the_record_s(tmp_path):
    again = rerun(recorded(tmp_path, "ncm", "split-digits", {}), stream="permuted-digits")
    assert "stream.kind" not in again.command
    assert not again.remark.startswith("Same fingerprint")


def test_a_test_file_is_looked_for_beside_the_file_that_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    rows = "".join(f"{number},{number % 4}\n" for number in range(40))
    for name in ("train", "test.v2"):
        (tmp_path / "sub" / f"{name}.csv").write_text(f"x,label\n{rows}")
    overrides = {"stream.tasks": "2", "stream.read.test": "./sub/test.v2.csv"}
    record = recorded(tmp_path, "ncm", "./sub/train.csv", overrides)
    again = rerun(record, stream="./sub/train.csv")
    assert "--set stream.read.test=sub/test.v2.csv" in again.command
    assert again.plan is not None
    assert again.plan.fingerprint == record.fingerprint
    (tmp_path / "sub" / "test.v2.csv").rename("test.v2.csv")
    assert "--set stream.read.test=test.v2.csv" in rerun(record, stream="./sub/train.csv").command
    (tmp_path / "test.v2.csv").unlink()
    with pytest.raises(DataError, match=r"test\.v2\.csv: .*beside sub/train\.csv or in the current folder.*Copy it to sub/test"):
        rerun(record, stream="./sub/train.csv")
