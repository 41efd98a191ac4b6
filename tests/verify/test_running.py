"""From claims to verdicts: what holds, what does not, what cannot be told, and that nothing is run twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlbench import api
from nlbench.errors import InterruptedRunError
from nlbench.plan import Machine
from nlbench.records import read_record
from nlbench.sweep import Budget, Here, Outcome
from nlbench.verify import Judged, claim_of, exit_status, trial, verify

LEARNERS = f"{Path(__file__).parents[1] / 'runner' / 'kept' / 'learners.py'}"
CELLS = {
    "plain": {"model": "mlp", "stream": "split-digits"},
    "guess": {"model": "chance", "stream": "split-digits"},
}


def claim(*holds: dict[str, object], **more: object):
    used = {value for one in holds for key, value in one.items() if key in ("of", "to", "above", "below")}
    cells = more.pop("cells", {name: cell for name, cell in CELLS.items() if name in used})
    table = {"title": "T", "statement": "S", "source": {"paper": "P"}, "seeds": 8, "cells": cells, "holds": list(holds)}
    return claim_of(table | more, "test.toml")


LEARNS = {"kind": "order", "above": "plain", "below": "guess", "metric": "learning_accuracy", "by": 0.1}
PLANTED = LEARNS | {"above": "guess", "below": "plain"}
NUMBER = {"kind": "value", "of": "guess", "equals": 0.1, "band": 0.05}
ALL = {
    "learns": claim(LEARNS),
    "planted": claim(PLANTED),
    "underpowered": claim({"kind": "value", "of": "plain", "equals": 0.33, "band": 0.0001, "metric": "average_accuracy"}),
    "published": claim(NUMBER, LEARNS, quick={}),
    "nonsense": claim(NUMBER | {"metric": "gap_closed"}),
    "unlearned": claim(
        {"kind": "order", "above": "guess", "below": "longer", "metric": "learning_accuracy"},
        cells={"guess": CELLS["guess"], "longer": CELLS["guess"] | {"set": {"protocol.passes": 2}}},
    ),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def events(results: Path) -> list[Outcome | Judged]:
    trials = [trial(name, one, reduced=False) for name, one in ALL.items()]
    return list(verify(trials, results, Here(1), Machine(device="cpu", backend="reference")))


def verdicts(events: list[Outcome | Judged]) -> dict[str, str]:
    return {each.name: each.verdict for each in events if isinstance(each, Judged)}


def test_a_true_claim_holds_a_planted_false_one_does_not_and_an_underpowered_one_is_undecided(events) -> None:
    found = verdicts(events)
    assert found["learns"] == "holds"
    assert found["planted"] == "does not hold"
    assert found["underpowered"] == "undecided"
    assert found["published"] == "holds"


def test_what_has_no_value_is_not_comparable_and_says_why(events) -> None:
    (each,) = (one for one in events if isinstance(one, Judged) and one.name == "nonsense")
    assert each.verdict == "not comparable"
    assert "gap_closed of guess is null" in each.findings[0].reason


def test_runs_that_learned_nothing_are_not_compared(events) -> None:
    (each,) = (one for one in events if isinstance(one, Judged) and one.name == "unlearned")
    assert each.verdict == "not comparable"
    assert each.findings[0].reason == "guess and longer learned nothing: no learning accuracy above chance"


def test_each_run_is_run_once_and_each_claim_judged_after_its_last(events) -> None:
    runs = [each for each in events if isinstance(each, Outcome)]
    assert sorted(each.plan.model for each in runs) == ["chance", "chance", "mlp"]
    assert all(each.state == "run" for each in runs)
    first = next(number for number, each in enumerate(events) if isinstance(each, Judged) and "plain" in each.cells)
    assert any(isinstance(each, Outcome) and each.plan.model == "mlp" for each in events[:first])


def test_what_is_recorded_is_not_run_again_and_the_verdicts_are_the_same(results, events) -> None:
    trials = [trial(name, one, reduced=False) for name, one in ALL.items()]
    again = list(verify(trials, results, Here(1), Machine(device="cpu", backend="reference")))
    assert all(each.state == "recorded" for each in again if isinstance(each, Outcome))
    assert verdicts(again) == verdicts(events)


def test_few_seeds_are_undecided_and_as_many_as_would_tell_are_named(results) -> None:
    trials = [trial("learns", ALL["learns"], reduced=False, seeds=5)]
    (each,) = (one for one in verify(trials, results, Here(1), Machine()) if isinstance(one, Judged))
    assert (each.verdict, each.findings[0].seeds, each.findings[0].seeds_to_tell) == ("undecided", 5, 6)


def test_a_reduced_form_claims_no_published_number(results) -> None:
    trials = [trial("published", ALL["published"], reduced=True), trial("learns", ALL["learns"], reduced=True)]
    found = {each.name: each for each in verify(trials, results, Here(1), Machine()) if isinstance(each, Judged)}
    assert [finding.verdict for finding in found["published"].findings] == ["not comparable", "holds"]
    assert found["published"].verdict == "holds"
    assert found["published"].command == "nlbench verify ./published.toml --quick"
    assert "no reduced form" in found["learns"].findings[0].reason


def test_a_run_that_cannot_be_made_leaves_its_claim_not_comparable_and_the_others_judged(results) -> None:
    wrong = claim(NUMBER, cells={"guess": {"model": "chnce", "stream": "split-digits"}})
    trials = [trial("wrong", wrong, reduced=False), trial("learns", ALL["learns"], reduced=False)]
    found = verdicts(list(verify(trials, results, Here(1), Machine())))
    assert found == {"wrong": "not comparable", "learns": "holds"}
    assert "Did you mean chance" in trials[0].obstacle


def test_a_run_that_fails_leaves_its_claim_not_comparable(tmp_path) -> None:
    missing = claim(NUMBER, cells={"guess": {"model": "chance", "stream": "split-mnist"}})
    machine = Machine(data=tmp_path / "nothing")
    (_, each) = verify([trial("missing", missing, reduced=False)], tmp_path, Here(1), machine)
    assert isinstance(each, Judged)
    assert each.verdict == "not comparable"
    assert "guess has no record" in each.findings[0].reason


@pytest.mark.parametrize(
    ("names", "status"),
    [(("learns",), 0), (("learns", "planted"), 1), (("learns", "nonsense"), 2), (("nonsense",), 2), ((), 2)],
)
def test_the_exit_status_is_that_of_the_worst(events, names, status) -> None:
    assert exit_status(each for each in events if isinstance(each, Judged) and each.name in names) == status


def test_values_of_the_claim_of_a_run_and_of_the_reduced_form_have_their_order() -> None:
    cells = {"plain": {"model": "mlp", "stream": "split-digits", "set": {"learner.rate": 0.5}}}
    holds = {"kind": "value", "of": "plain", "equals": 0.5, "band": 0.1}
    one = claim(holds, cells=cells, set={"learner.rate": 0.1, "batch": 8}, quick={"set": {"batch": 64}, "seeds": 5})
    full, reduced = trial("one", one, reduced=False).plans["plain"], trial("one", one, reduced=True).plans["plain"]
    assert (full.learner.learner.rate, full.batch, len(full.seeds)) == (0.5, 8, 8)
    assert (reduced.learner.learner.rate, reduced.batch, len(reduced.seeds)) == (0.5, 64, 5)
    of_its_own = {"set": {"batch": 64}, "cells": {"plain": {"batch": 32, "learner.rate": 0.2}}}
    reduced = trial("one", claim(holds, cells=cells, quick=of_its_own), reduced=True).plans["plain"]
    assert (reduced.learner.learner.rate, reduced.batch) == (0.2, 32)


def test_a_claim_unsets_what_a_stream_says() -> None:
    cells = {"plain": {"model": "mlp", "stream": "split-digits", "set": {"protocol.evaluate_every": "none"}}}
    one = claim({"kind": "value", "of": "plain", "equals": 0.5, "band": 0.1}, cells=cells)
    assert trial("one", one, reduced=False).plans["plain"].stream.protocol.evaluate_every is None


def test_a_record_of_other_terms_under_a_run_s_name_is_not_taken_for_it(tmp_path) -> None:
    other = api.run("chance", "split-digits", seeds=8, overrides={"protocol.passes": "2"}, results=tmp_path, device="cpu")
    asked = trial("number", claim(NUMBER), reduced=False)
    (plan,) = asked.plans.values()
    other.path.rename(plan.record_path(tmp_path))
    *_, each = verify([asked], tmp_path, Here(1), Machine(device="cpu", backend="reference"))
    assert isinstance(each, Judged)
    assert each.verdict == "not comparable"
    assert "guess" in each.findings[0].reason


def test_what_a_budget_left_is_said_so(tmp_path) -> None:
    asked = trial("number", claim(NUMBER), reduced=False)
    *_, each = verify([asked], tmp_path, Here(1), Machine(device="cpu"), budget=Budget(seconds=0))
    assert isinstance(each, Judged)
    assert each.findings[0].reason == "guess has no record: the budget was spent before it"


def test_interrupted_three_times_it_comes_to_the_same_verdict_and_nothing_is_lost(tmp_path, monkeypatch) -> None:
    cells = {"means": {"model": f"{LEARNERS}:Means", "stream": "split-digits"}, "guess": CELLS["guess"]}
    rarely = {"protocol.evaluate": "window:1", "protocol.evaluate_every": "none"}
    asked = trial("learns", claim(LEARNS | {"above": "means"}, cells=cells, seeds=6, set=rarely), reduced=False)

    def tried(results: Path) -> Judged:
        *_, each = verify([asked], results, Here(1), Machine(device="cpu", backend="reference"))
        assert isinstance(each, Judged)
        return each

    whole = tried(tmp_path / "whole")
    for stop in ("7 SIGTERM", "40 SIGINT", "41 SIGTERM"):
        monkeypatch.setenv("NLBENCH_STOP", stop)
        with pytest.raises(InterruptedRunError, match="the same command goes on"):
            tried(tmp_path / "slices")
    monkeypatch.delenv("NLBENCH_STOP")
    last = tried(tmp_path / "slices")
    assert last.verdict == "holds"
    assert last.findings == whole.findings
    assert len(read_record(tmp_path / "slices" / last.cells["means"].record).runs[0].resumes) == 3
