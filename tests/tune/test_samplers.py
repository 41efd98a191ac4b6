"""Samplers give no point twice and end; what learns from scores finds the better half of a space sooner than chance."""

from __future__ import annotations

import sys
from math import log10

import pytest

from nlbench.errors import NlbenchError, UnknownNameError
from nlbench.tune.samplers import Sampler, sampler_of
from nlbench.tune.space import Range

LISTS = {"learner.rate": ["0.1", "0.3"], "batch": ["8", "16"]}
RATES = {"learner.rate": Range(1e-6, 1.0, log=True, whole=False)}


def all_of(sampler: Sampler) -> list[dict[str, str]]:
    found = []
    while (point := sampler.ask()) is not None:
        found.append(point)
        sampler.tell(point, 0.5)
    return found


@pytest.mark.parametrize("name", ["grid", "random", "tpe"])
def test_every_point_of_lists_comes_once(name: str) -> None:
    if name == "tpe":
        pytest.importorskip("optuna")
    points = all_of(sampler_of(name, LISTS, 4))
    assert sorted(points, key=str) == sorted(
        [{"learner.rate": rate, "batch": batch} for rate in LISTS["learner.rate"] for batch in LISTS["batch"]], key=str
    )
    assert points == all_of(sampler_of(name, LISTS, 4))


def test_what_learns_tries_more_near_the_best_than_chance_does() -> None:
    """The score is best at 10^-4, and everything above 10^-1 diverges."""
    pytest.importorskip("optuna")

    def near(name: str) -> int:
        sampler, count = sampler_of(name, RATES, 40), 0
        for number in range(40):
            point = sampler.ask()
            assert point is not None
            rate = log10(float(point["learner.rate"]))
            sampler.tell(point, None if rate > -1 else -abs(rate + 4))
            count += number >= 20 and abs(rate + 4) < 0.75
        return count

    assert near("tpe") >= 2 * near("random")


def test_what_cannot_sample_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NlbenchError, match=r"learner\.rate=log:1e-06\.\.1: a grid has no ranges"):
        sampler_of("grid", RATES, 3)
    with pytest.raises(UnknownNameError, match=r"unknown sampler 'gird'\. Did you mean grid"):
        sampler_of("gird", LISTS, 3)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(NlbenchError, match=r'needs the extra `tune`\. .* "nlbench\[tune\]"'):
        sampler_of("tpe", LISTS, 3)
