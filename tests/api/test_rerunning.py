"""A record is made again from its own facts; what it names is opened only where the user names it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from altered_records import altered, better
from sklearn.linear_model import SGDClassifier

from nlbench import api
from nlbench.errors import NlbenchError
from nlbench.records import Record


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("record")
    return api.run("mlp", "split-digits", seeds=4, results=folder, overrides={"learner.rate": "0.2"}, threads=1).record


def test_an_honest_record_holds_on_another_number_of_threads(record):
    done = api.rerun(record, threads=2)
    assert (done.found.sameness, done.exit_status, done.chance) in (("equal", 0, 1.0), ("within rounding", 0, 1.0))
    assert done.found.seeds == (0, 1, 2, 3)
    assert {one.field for one in done.changed} >= {"threads"}
    assert "--set learner.rate=0.2" in done.command
    assert repr(done).startswith(f"<nlbench rerun of {record.path}: {done.found.sameness}, ")


def test_a_record_altered_consistently_in_one_seed_is_refused(record, tmp_path):
    forged = altered(record, tmp_path / record.path.name, better(2, 6))
    assert forged.metric("average_accuracy")[2] > record.metric("average_accuracy")[2] + 0.01
    done = api.rerun(forged)
    assert (done.found.sameness, done.exit_status) == ("different", 1)
    assert {one.seed for one in done.found.deviations if not one.rounding} == {2}
    assert api.rerun(forged, seeds="0,1").exit_status == 0  # and whoever looks elsewhere is told what that is worth
    assert api.rerun(forged, seeds="0,1").chance == 0.5


def test_drawn_seeds_are_of_the_record_and_not_foreseen(record, monkeypatch):
    from nlbench.api import rerunning

    drawn = {rerunning._seeds(record, "2")[0] for _ in range(100)}
    assert len(drawn) > 1
    assert all(len(seeds) == 2 and set(seeds) <= set(record.seeds) for seeds in drawn)
    assert rerunning._seeds(record, "3,") == ((3,), False)


@pytest.mark.parametrize(("seeds", "match"), [("9", "from 1 to 4"), ("0", "from 1 to 4"), ("7,", "has no seed 7")])
def test_seeds_that_the_record_lacks_are_refused(record, seeds, match):
    with pytest.raises(NlbenchError, match=match):
        api.rerun(record, seeds=seeds)


def test_what_was_given_in_python_is_given_there_again(tmp_path):
    estimator = SGDClassifier(alpha=0.01)
    record = api.run(estimator, "split-digits", seeds=1, results=tmp_path, device="cpu").record
    with pytest.raises(
        NlbenchError, match=r"cannot be run again\. SGDClassifier was given in Python; there, nlbench\.api\.rerun"
    ):
        api.rerun(record)
    assert api.rerun(record, model=estimator).found.sameness == "equal"


LEARNER = """
import nlbench


class Constant(nlbench.Learner):
    def __init__(self, config, problem):
        self.problem = problem

    def observe(self, batch):
        return batch.inputs.new_zeros(len(self.problem.seeds))

    def predict(self, inputs, task):
        logits = inputs.new_zeros(len(self.problem.seeds), inputs.shape[1], self.problem.n_classes)
        logits[..., 3] = 1.0
        return logits
"""


def test_code_that_a_record_names_runs_only_if_the_user_names_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("learner.py").write_text(LEARNER)
    path = api.run("./learner.py:Constant", "split-digits", seeds=2).path
    Path("learner.py").write_text(LEARNER + "\nopen('imported', 'w').close()\n")
    with pytest.raises(NlbenchError, match=r"Constant is not the package's own.*--model"):
        api.rerun(path)
    assert not Path("imported").exists()
    Path("learner.py").write_text(LEARNER)
    done = api.rerun(path, model="./learner.py:Constant")
    assert (done.found.sameness, done.same_run) == ("equal", True)


def test_a_refusal_says_where_files_lay_and_which_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    Path("sub/learner.py").write_text(LEARNER)
    record = api.run("./sub/learner.py:Constant", "split-digits", seeds=1).record
    assert record.footer.files == {"model": "./sub/learner.py:Constant", "learner.kind": "./sub/learner.py:Constant"}
    with pytest.raises(NlbenchError, match=r"as the run did: --model \./sub/learner\.py:Constant\.$"):
        api.rerun(record)
    Path("sub").rename("other")
    with pytest.raises(NlbenchError, match=rf"There is no \./sub/learner\.py in {tmp_path}: name it where it lies now\.$"):
        api.rerun(record)
    assert api.rerun(record, model="./other/learner.py:Constant").found.sameness == "equal"


def test_a_record_cannot_smuggle_code_in_beside_a_name_that_the_user_gives(record, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text("open('imported', 'w').close()\nclass Network: ...\n")
    spec = {"learner": {"kind": "naive", "network": {"kind": "./evil.py:Network"}}, "presents": "sequential"}
    path = altered(record, tmp_path / "a.parquet", learner_spec=spec).path
    for model in (None, "mlp"):
        with pytest.raises(NlbenchError, match=r"evil\.py:Network"):
            api.rerun(path, model=model)
    assert not Path("imported").exists()
    assert "evil" not in sys.modules


def test_other_data_cannot_be_judged(record, tmp_path):
    other = altered(record, tmp_path / "a.parquet", data={"digits": "0" * 64})
    with pytest.raises(NlbenchError, match=r"a\.parquet: its data cannot be had again with this version"):
        api.rerun(other)


def test_a_record_without_a_key_that_came_later_and_is_null_is_compared(tmp_path):
    record = api.run("si", "split-digits", seeds=1, results=tmp_path, threads=1).record
    learner = dict(record.footer.learner_spec["learner"])
    assert learner.pop("schedule") is None
    older = altered(record, tmp_path / "a.parquet", learner_spec={**record.footer.learner_spec, "learner": learner})
    done = api.rerun(older)
    assert (done.found.sameness, done.exit_status, done.same_run) == ("equal", 0, False)
    assert "declaration" not in done.remark


def test_other_code_may_be_why_numbers_differ(record, tmp_path):
    older = {"code": {**record.footer.code, "learner": "0" * 16}}
    honest = api.rerun(altered(record, tmp_path / "a.parquet", **older), seeds="1,2")
    assert (honest.exit_status, honest.same_run) == (0, False)
    assert "the code that runs" in honest.remark
    assert api.rerun(altered(record, tmp_path / "b.parquet", better(2, 6), **older), seeds="1,2").exit_status == 2
