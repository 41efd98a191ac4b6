"""Terms are read alike of a record of today and of protocol 1, which says them as part of its stream."""

from __future__ import annotations

import pytest

from nlbench.catalog import REFERENCE
from nlbench.metrics import METRICS
from nlbench.records import read_record, terms

OLD = {
    "stream": {"kind": "split", "source": "digits", "tasks": 5, "scenario": "class-il"},
    "protocol": {"batch": 16, "passes": 2, "boundaries": True, "evaluate": "seen", "evaluate_every": 64, "prequential": False},
}
NEW = {"stream": OLD["stream"], "output_space": "all"}


@pytest.fixture(scope="module")
def footer():
    return read_record(next(iter(sorted(REFERENCE.glob("mlp.split-digits.*.parquet"))))).footer


def of(footer, **facts):
    return footer.model_copy(update={"data": {"digits": "1"}, "scenario": "class-il", **facts})


def old(footer, batch=None, **protocol):
    spec = {**OLD, "protocol": {**OLD["protocol"], **protocol}}
    return of(footer, stream_spec=spec, learner_spec={"batch": batch}, terms={}, evaluation={})


def new(footer, **facts):
    said = {"passes": 2, "batch": 16, "boundaries": True}
    measured = {"evaluate": "seen", "evaluate_every": 64, "prequential": False}
    digest = terms.stream_digest(NEW, {"digits": "1"})
    return of(footer, **{"stream_spec": NEW, "terms": said, "evaluation": measured, "stream_digest": digest, **facts})


def test_an_old_record_says_the_same_as_a_new_one(footer):
    first, second = old(footer), new(footer)
    assert terms.terms(first) == terms.terms(second) == {"passes": 2, "batch": 16, "boundaries": True}
    assert terms.evaluation(first) == terms.evaluation(second)
    assert terms.stream(first) == terms.stream(second)
    assert terms.digest_of_stream(first) == terms.digest_of_stream(second)


def test_a_recipes_own_batch_counts(footer):
    assert terms.terms(old(footer, batch=4))["batch"] == 4


def test_terms_and_measurement_are_no_part_of_what_a_stream_is(footer):
    assert terms.digest_of_stream(old(footer, passes=9, evaluate="final")) == terms.digest_of_stream(old(footer))
    assert terms.digest_of_stream(old(footer, output_space="seen")) != terms.digest_of_stream(old(footer))


def test_how_often_is_measured_matters_to_metrics_of_within_alone(footer):
    often, seldom = new(footer), new(footer, evaluation={"evaluate_every": 1000})
    by_needs = {metric.needs: metric for metric in METRICS.values()}
    assert terms.measured_unequally(by_needs["accuracy_within"], often, seldom) == "measured every 64 / 1000 samples"
    assert terms.measured_unequally(by_needs["accuracy_within"], often, often) == ""
    assert terms.measured_unequally(by_needs["accuracy"], often, seldom) == ""


def test_in_what_terms_differ():
    one, four = {"passes": 1, "batch": 8, "boundaries": False}, {"passes": 4, "batch": 8, "boundaries": True}
    assert terms.unequal([one, four, one]) == "passes 1 and 4, boundaries not told and told"
    assert terms.unequal([one, one]) == ""
    assert terms.text(four) == "passes 4, batch 8, boundaries told"
    assert terms.text({"passes": 2}, ["passes", "batch"]) == "passes 2, batch –"
