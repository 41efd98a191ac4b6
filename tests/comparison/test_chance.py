"""What is said of learning accuracy beside its chance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compared_records import FIVE, learner, spread
from synthetic_records import make_record, matrix

from nlbench.comparison import compare, learned, mean_chance
from nlbench.records import Record


def record(folder: Path, accuracies: list[float], chance: float | None = 0.5) -> Record:
    """A record whose seeds learn each task to the given accuracies."""
    return make_record(folder / "r.parquet", {s: matrix(0.5, value) for s, value in enumerate(accuracies)}, chance=chance)


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ([0.9, 0.91, 0.9], "above-chance"),
        ([0.717, 0.852], "not-above-chance"),  # far above, but two seeds have an interval of 1.7
        ([0.48, 0.53, 0.51], "not-above-chance"),
        ([0.5, 0.5, 0.5], "at-chance"),  # a constant answer
        ([0.3, 0.31, 0.32], "at-chance"),  # below it
        ([0.1 + 0.4 - 1e-16, 0.5, 0.3 + 0.2], "at-chance"),
        ([0.9], None),  # one seed has no interval
        ([0.5], "not-above-chance"),
    ],
)
def test_at_chance_is_said_only_where_it_is_shown(accuracies: list[float], said: str | None, tmp_path: Path) -> None:
    assert learned(record(tmp_path, accuracies)) == said


def test_nothing_is_said_where_chance_is_not_recorded(tmp_path: Path) -> None:
    assert learned(record(tmp_path, [0.9, 0.9], chance=None)) is None
    assert mean_chance(record(tmp_path, [0.9, 0.9], chance=None), "learning_accuracy") is None


def test_the_chance_of_a_seed_is_held_against_its_own_accuracy(tmp_path: Path) -> None:
    """Class orders drawn from seeds: accuracy follows chance, so that only the difference shows that something was learned."""
    found = record(tmp_path, [0.55, 0.65, 0.75])
    rows = found.first.where("chance")
    value = found.first.value.copy()
    value[rows] = np.where(found.first.on_task[rows] > 0, 0.5 + 0.1 * found.first.seed[rows], value[rows])
    assert learned(found) == "not-above-chance"
    assert learned(replace(found, first=replace(found.first, value=value))) == "above-chance"


def test_every_number_stands_beside_its_own_chance(tmp_path: Path) -> None:
    mlp, cms = (learner(tmp_path, name, spread(0.2, 5)) for name in ("mlp", "cms"))
    assert mlp.chance_of("average_accuracy") == dict.fromkeys(FIVE, 0.1)
    assert mlp.chance_of("learning_accuracy") == dict.fromkeys(FIVE, 0.5)
    assert mlp.chance_of("forgetting") == dict.fromkeys(FIVE)
    found = compare([mlp, cms])
    header, *_, foot = [line for line in found.to_markdown().splitlines() if line.startswith("|")][:5]
    cells = dict(zip(header.split(" | "), foot.split(" | "), strict=True))
    assert cells["| learner"] == "| (chance)"
    assert (cells["average_accuracy"], cells["learning_accuracy"], cells["forgetting"]) == ("0.100", "0.500", "")
    assert "(chance) &" in found.to_latex().partition("\\midrule")[2].partition("\\midrule")[2]
    frame = found.to_pandas().set_index(["learner", "metric"])["chance"]
    assert (frame["mlp", "average_accuracy"], frame["mlp", "learning_accuracy"]) == (0.1, 0.5)
    assert np.isnan(frame["mlp", "forgetting"])


def test_an_older_record_does_not_say_the_chance_of_the_whole_stream(tmp_path: Path) -> None:
    found = record(tmp_path, [0.9, 0.9])
    rows = found.first.where("chance")
    value = found.first.value.copy()
    value[rows] = np.where(found.first.on_task[rows] > 0, value[rows], np.nan)
    older = replace(found, first=replace(found.first, value=value))
    assert (mean_chance(older, "average_accuracy"), mean_chance(older, "learning_accuracy")) == (None, 0.5)
    text = compare([older]).to_markdown()
    assert "chance of average_accuracy is null for mlp: its record is older and does not say it." in text
