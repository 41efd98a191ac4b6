"""A search without leaks: on what candidates are judged, what is refused, what is known already and what a signal leaves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import nlbench
from nlbench.errors import InterruptedRunError, NlbenchError, RecordError
from nlbench.plan import Machine
from nlbench.sweep import Here
from nlbench.tune import TUNING_SEEDS, Question, Trial, Trials, check, sampler_of, trials, tune

SPACE = {"learner.rate": ["0.001", "0.3", "1e30"]}


def asked(values: Mapping[str, str]) -> Question:
    plan = nlbench.resolve("mlp", "split-digits", seeds=TUNING_SEEDS, overrides={"learner.hidden": "[8]", **values})
    return Question(plan, dict(values), 2, "average_accuracy", Machine(device="cpu"))


def searched(**options: Any) -> list[Trial]:
    return list(tune(asked, sampler_of("grid", SPACE, 8), Here(), budget=8, **options))


def test_candidates_are_judged_on_held_out_training_samples_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    built, real = [], trials.build_stream

    def watched(plan: Any, machine: Machine) -> Any:
        stream = real(plan, machine)
        monkeypatch.setattr(stream, "test", lambda task: pytest.fail("a test set was read"))
        built.append(stream)
        return stream

    monkeypatch.setattr(trials, "build_stream", watched)
    trials._last.clear()
    low, high, diverged = searched()
    assert len(built) == 1  # the candidates of a search have one stream
    assert [one.values["learner.rate"] for one in (low, high, diverged)] == SPACE["learner.rate"]
    assert high.score is not None
    assert low.score is not None
    assert high.score > low.score
    assert (len(high.scores), sum(high.scores) / 3) == (3, pytest.approx(high.score))
    assert (diverged.score, diverged.scores) == (None, ())


@pytest.mark.parametrize(
    ("space", "objective", "message"),
    [
        ({}, "average_accuracy", "the search space is empty"),
        ({"protocol.passes": ["2"]}, "average_accuracy", r"protocol\.passes: a search varies learner\.<key> and batch only"),
        ({"learner.rate": ["0.1"]}, "accuracy", "objective must be a metric"),
        ({"learner.rate": ["0.1"]}, "intransigence", "cannot be measured"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_runs(space: Any, objective: str, message: str) -> None:
    with pytest.raises(NlbenchError, match=message):
        check(asked({}).plan, space, 3, objective)


def test_a_trial_that_is_known_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Trials(tmp_path / "sub" / "trials.jsonl")
    first = searched(trials=kept)
    told: list[tuple[dict[str, str], float | None]] = []
    sampler = sampler_of("grid", SPACE, 8)
    monkeypatch.setattr(sampler, "tell", lambda point, score: told.append((point, score)))
    monkeypatch.setattr(Question, "perform", lambda question: pytest.fail("was tried again"))
    assert list(tune(asked, sampler, Here(), budget=8, trials=kept)) == first
    assert told == [(one.values, one.score) for one in first]
    assert asked({}).name not in kept.read()
    assert kept.path is not None
    kept.path.write_text(kept.path.read_text() + "{}\n")
    with pytest.raises(RecordError, match=r"trials\.jsonl: line 4 is no trial\. Remove the line"):
        kept.read()


def test_a_line_that_was_cut_short_is_tried_again_and_written_anew(tmp_path: Path) -> None:
    kept = Trials(tmp_path / "trials.jsonl")
    assert kept.path is not None
    first = searched(trials=kept)
    whole = kept.path.read_bytes()
    kept.path.write_bytes(whole[:-20])
    assert len(kept.read()) == 2
    assert sorted(one.values["learner.rate"] for one in searched(trials=kept)) == sorted(SPACE["learner.rate"])
    assert [len(line) > 20 for line in kept.path.read_bytes().splitlines()] == [True] * 3
    assert list(kept.read()) == [asked({**one.values}).name for one in first]
    kept.path.write_bytes(b'{"quest')
    assert kept.read() == {}


def test_trials_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordError, match=r"cannot write .*t\.jsonl: .* --trials"):
        searched(trials=Trials(tmp_path / "file" / "t.jsonl"))


def test_time_and_number_bound_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(list(tune(asked, sampler_of("grid", SPACE, 8), Here(), budget=1))) == 1
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(trials, "monotonic", lambda: next(clock))
    assert len(searched(seconds=25)) == 2


@pytest.mark.parametrize(
    ("raised", "expected", "message"),
    [
        (KeyboardInterrupt(), InterruptedRunError, "interrupted. Trials that ended are kept in"),
        (NlbenchError("no such width."), NlbenchError, "no such width"),
    ],
)
def test_what_ended_before_an_end_is_kept(
    raised: BaseException, expected: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def perform(question: Question) -> Trial:
        if question.values["learner.rate"] == "0.3":
            raise raised
        return Trial(question.values, 0.5, {}, 1.0, (0.5,))

    monkeypatch.setattr(Question, "perform", perform)
    with pytest.raises(expected, match=message):
        searched(trials=Trials(tmp_path / "t.jsonl"))
    (known,) = Trials(tmp_path / "t.jsonl").read().values()
    assert known.values == {"learner.rate": "0.001"}
