"""What Python gave a run is said with the call that gives it again."""

from __future__ import annotations

import json

import pytest
import torch
from planned_records import recorded
from sklearn.linear_model import SGDClassifier
from small_streams import small_stream
from synthetic_records import make_record, matrix

from nlbench.reporting import rerun


class Network(torch.nn.Linear):
    def __init__(self):
        super().__init__(64, 10)


GIVEN = {
    "an object": (lambda: SGDClassifier(alpha=0.1), "SGDClassifier(…)", {"protocol.passes": "2"}),
    "a class": (lambda: SGDClassifier, "SGDClassifier", {"protocol.evaluate_every": "none"}),
    "a module": (lambda: Network, "Network", {"learner.optimizer.rate": "0.2"}),
    "a module of another method": (lambda: Network, "Network", {"learner.kind": "l2-init"}),
}


def test_a_record_that_says_little_is_no_defect(tmp_path):
    record = recorded(tmp_path, Network, "split-digits", {})
    for learner in ({"build": "a:b.object"}, {"kind": "naive", "network": {"build": "a:b.object"}}, {"kind": "__main__:X"}):
        made = make_record(tmp_path / "b.parquet", {0: matrix(0.5, 0.9)}, model="Network", learner_spec={"learner": learner})
        assert rerun(made).in_python
    assert rerun(record).in_python


@pytest.mark.parametrize(("give", "words", "overrides"), GIVEN.values(), ids=GIVEN)
def test_a_learner_given_in_python_is_said_with_the_call_that_gives_it_again(tmp_path, give, words, overrides):
    record = recorded(tmp_path, give(), "split-digits", overrides)
    again = rerun(record)
    assert again.in_python
    assert again.command == f'nlbench.run({words}, "split-digits", seeds=2, overrides={json.dumps(overrides)})'
    name = words.partition("(")[0]
    call = f'nlbench.api.rerun("{record.path}", model={words})'
    assert again.remark == f"{name} was given in Python; there, {call} runs it again and compares."
    assert rerun(record, model=give()).remark.startswith("Same fingerprint")


def test_a_class_of_a_session_and_a_stream_of_arrays_are_said_with_their_call(tmp_path, monkeypatch):
    monkeypatch.setattr(Network, "__module__", "__main__")
    stream = small_stream()
    record = recorded(tmp_path, Network, stream, {}, seeds=(3, 5))
    again = rerun(record)
    assert again.command == f'nlbench.run(Network, nlbench.stream_from_arrays("{stream.name}", …), seeds=[3, 5])'
    assert "Network and the stream were given in Python" in again.remark
    assert rerun(record, model=Network, stream=stream).remark.startswith("Same fingerprint")
    ours = recorded(tmp_path, "mlp", stream, {"learner.rate": "0.3"})
    assert rerun(ours).command.startswith('nlbench.run("mlp", nlbench.stream_from_arrays(')
    assert rerun(ours).command.endswith('overrides={"learner.rate": "0.3"})')
