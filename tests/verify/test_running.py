"""From claims to verdicts: what holds, what does not, what cannot be told, and that nothing is run twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from nlbench import api
from nlbench.errors import InterruptedRunError, SpecError
from nlbench.plan import Machine
from nlbench.records import read_record
from nlbench.sources import Source
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
FORGETS = {"kind": "order", "above": "plain", "below": "guess", "metric": "forgetting"}
ALL = {
    "learns": claim(LEARNS),
    "planted": claim(PLANTED),
    "underpowered": claim({"kind": "value", "of": "plain", "equals": 0.33, "band": 0.0001, "metric": "average_accuracy"}),
    "published": claim(NUMBER, LEARNS, quick={}),
    "nonsense": claim(NUMBER | {"metric": "recovery_time"}),
    "forgets": claim(FORGETS, LEARNS),
    "in part": claim(LEARNS, LEARNS | {"metric": "recovery_time"}),
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
    assert each.findings[0].reason.startswith("recovery_time of guess is null: tasks ask for other labels")


def test_a_claim_of_which_a_part_cannot_be_compared_does_not_hold_for_the_rest(events) -> None:
    (each,) = (one for one in events if isinstance(one, Judged) and one.name == "in part")
    assert [finding.verdict for finding in each.findings] == ["holds", "not comparable"]
    assert (each.verdict, exit_status([each])) == ("not comparable", 2)


def test_runs_that_learned_nothing_are_not_compared(events) -> None:
    (each,) = (one for one in events if isinstance(one, Judged) and one.name == "unlearned")
    assert each.verdict == "not comparable"
    assert each.findings[0].reason == "guess and longer are not shown to have learned: no learning accuracy above chance"


def test_what_learned_nothing_forgets_nothing_and_shows_nothing_by_that(events) -> None:
    (each,) = (one for one in events if isinstance(one, Judged) and one.name == "forgets")
    assert [finding.verdict for finding in each.findings] == ["not comparable", "holds"]
    why = "guess is not shown to have learned: no learning accuracy above chance, and nothing to forget"
    assert each.findings[0].reason == why


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
    file = "my claims/published.toml"
    trials = [
        trial("published", ALL["published"], reduced=True, seeds=7, file=file),
        trial("learns", ALL["learns"], reduced=True),
    ]
    found = {each.name: each for each in verify(trials, results, Here(1), Machine()) if isinstance(each, Judged)}
    assert [finding.verdict for finding in found["published"].findings] == ["not comparable", "holds"]
    assert found["published"].verdict == "holds"
    assert found["published"].command == "nlbench verify 'my claims/published.toml' --quick --seeds 7"
    assert found["published"].findings[1].seeds == 7
    assert "no reduced form" in found["learns"].findings[0].reason


GUESS = {"guess": CELLS["guess"]}


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (
            {"cells": {"guess": {"model": "chnce", "stream": "split-digits"}}},
            r"cells\.guess: unknown model 'chnce'\. Did you mean",
        ),
        ({"cells": {"guess": {"model": "chance", "stream": "split-digts"}}}, r"cells\.guess: unknown stream 'split-digts'"),
        (
            {"cells": {"guess": {"model": "./no.py:One", "stream": "split-digits"}}},
            r"cells\.guess: no\.py: there is no such file",
        ),
        ({"cells": GUESS, "set": {"bach": 8}}, r"set\.bach: must be one of .* \(did you mean batch\?\)$"),
        ({"cells": GUESS, "set": {"protcol.passes": 8}}, r"set\.protcol\.passes: .* \(did you mean protocol\.passes\?\)$"),
        (
            {"cells": GUESS, "set": {"protocol.pases": 8}},
            r"set\.protocol\.pases: is not a known key \(did you mean passes\?\), got 8$",
        ),
        ({"cells": GUESS, "set": {"protocol": {"pases": 8}}}, r"set\.protocol\.pases: is not a known key \(did you mean passes"),
        ({"cells": GUESS, "quick": {"set": {"batch": "big"}}}, r"quick\.set\.batch: must be .*, got 'big'$"),
        (
            {"cells": GUESS, "quick": {"cells": {"guess": {"learner.x": 1}}}},
            r"quick\.cells\.guess\.learner\.x: is not a known key",
        ),
        (
            {"cells": {"guess": {"model": "er", "stream": "split-digits", "set": {"learner.netwrk.hidden": [8]}}}},
            r"cells\.guess\.set\.learner\.netwrk: is not a known key \(did you mean network\?\)",
        ),
    ],
)
def test_what_no_run_can_have_is_told_of_both_forms_before_any_run(table: dict[str, object], line: str) -> None:
    with pytest.raises(SpecError, match=rf"^test\.toml: {line}"):
        trial("test", claim(NUMBER, **table), reduced=False, file="test.toml")


@pytest.mark.parametrize("quick", [None, {"set": {"learner.rate": 0.2}}])
def test_a_run_is_not_compared_with_itself_under_another_name(quick: dict[str, object] | None) -> None:
    rates = {"one": 0.1, "two": 0.3} if quick else {"one": 0.1, "two": 0.1}
    cells = {name: {"model": "mlp", "stream": "split-digits", "set": {"learner.rate": rate}} for name, rate in rates.items()}
    same = {"kind": "equality", "of": "one", "to": "two", "within": 0.01}
    form = " in the reduced form" if quick else ""
    value = {"kind": "value", "of": "one", "equals": 0.5, "band": 0.1}
    with pytest.raises(
        SpecError, match=rf"^test\.toml: holds\.1: one and two are the same run{form}\. Compare two that differ\.$"
    ):
        trial("test", claim(value, same, cells=cells, quick=quick), reduced=False, file="test.toml")


def test_all_that_is_wrong_is_told_at_once_and_of_which_runs() -> None:
    wrong = {
        "one": {"model": "mlp", "stream": "split-digits", "set": {"learner.hiden": [8]}},
        "two": {"model": "mlp", "stream": "split-digits"},
        "three": {"model": "chance", "stream": "split-digits"},
    }
    holds = [{"kind": "value", "of": name, "equals": 0.5, "band": 0.1} for name in wrong]
    with pytest.raises(SpecError) as error:
        trial("test", claim(*holds, cells=wrong, set={"learner.rate": "fast"}), reduced=False, file="test.toml")
    second, first, third = error.value.problems
    assert first.startswith("test.toml: cells.one.set.learner.hiden: is not a known key")
    assert second == "test.toml: set.learner.rate: must be a valid number, got 'fast' (of one, two)"
    assert third.startswith("test.toml: set.learner.rate: is not a known key")
    assert third.endswith("(of three)")


def test_values_may_be_written_in_nested_tables_and_a_table_with_a_kind_is_one_value() -> None:
    one = claim(NUMBER, cells=GUESS, set={"protocol": {"passes": 3}})
    assert trial("one", one, reduced=False).plans["guess"].stream.protocol.passes == 3
    cells = {"guess": {"model": "naive-convolutional", "stream": "split-digits"}}
    one = claim(NUMBER, cells=cells, set={"learner.network": {"kind": "mlp", "hidden": [8]}})
    assert trial("one", one, reduced=False).plans["guess"].learner.learner.network.kind == "mlp"


def test_a_run_that_fails_leaves_its_claim_not_comparable(tmp_path) -> None:
    cells = {"guess": {"model": "hat", "stream": "split-digits", "set": {"protocol.boundaries": False}}}
    (_, each) = verify([trial("fails", claim(NUMBER, cells=cells), reduced=False)], tmp_path, Here(1), Machine(device="cpu"))
    assert isinstance(each, Judged)
    assert each.verdict == "not comparable"
    assert "guess has no record: hat needs to be told when a task ends" in each.findings[0].reason


def test_a_data_set_that_cannot_be_had_is_asked_for_once_and_none_of_its_runs_begins(tmp_path, monkeypatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(Source, "_bring", lambda self, data: asked.append(self.name))
    cells = {name: {"model": name, "stream": "split-mnist"} for name in ("chance", "mlp")}
    holds = LEARNS | {"above": "mlp", "below": "chance"}
    trials = [trial(name, claim(holds, cells=cells), reduced=False) for name in ("one", "other")]
    trials.append(trial("learns", ALL["learns"], reduced=False))
    machine = Machine(data=tmp_path / "nothing", device="cpu")
    events = list(verify(trials, tmp_path, Here(1), machine))
    assert verdicts(events) == {"one": "not comparable", "other": "not comparable", "learns": "holds"}
    assert asked == ["mnist"]
    assert [each.plan.stream_name for each in events if isinstance(each, Outcome)] == ["split-digits"] * 2
    (first, *_) = (each for each in events if isinstance(each, Judged))
    assert "chance has no data: mnist: not found in" in first.findings[0].reason
    assert "nlbench data fetch mnist" in first.findings[0].reason


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


def test_an_interval_of_a_run_ends_where_its_metric_does(tmp_path) -> None:
    cells = {"alone": {"model": "slda", "stream": "split-digits-task-il", "set": {"stream.tasks": 2, "protocol.passes": 1}}}
    one = claim({"kind": "value", "of": "alone", "equals": 0.9, "band": 0.1}, cells=cells)
    *_, each = verify([trial("alone", one, reduced=False, seeds=2)], tmp_path, Here(1), Machine(device="cpu"))
    assert isinstance(each, Judged)
    (found,) = each.cells["alone"].values.values()
    assert found.mean < found.high <= 1.0
    assert found.mean + (found.mean - found.low) > 1.0, "the case does not reach over the edge"


def test_each_run_that_begins_is_told(tmp_path) -> None:
    asked, told = trial("number", claim(NUMBER), reduced=False), []
    for _ in range(2):
        list(verify([asked], tmp_path, Here(1), Machine(device="cpu"), began=told.append))
    assert [plan.model for plan in told] == ["chance"]


def test_a_claim_all_of_whose_seeds_are_recorded_is_judged_though_another_asks_for_more_than_the_budget(results, events) -> None:
    trials = [trial("learns", ALL["learns"], reduced=False), trial("more", ALL["learns"], reduced=False, seeds=9)]
    found = list(verify(trials, results, Here(1), Machine(device="cpu"), budget=Budget(seconds=0)))
    assert verdicts(found) == {"learns": "holds", "more": "not comparable"}


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
