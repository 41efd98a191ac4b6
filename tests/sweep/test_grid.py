"""A grid is every combination and nothing else; what breaks a rule is named with its key."""

from __future__ import annotations

import tomllib

import pytest

from nlbench.errors import SpecError
from nlbench.specs import toml_value
from nlbench.sweep.grid import as_toml, combinations, flat, read_grid

FILE = """
models = ["mlp", "er"]
streams = ["split-digits", "permuted-digits"]
seeds = [0, 4]

[set]
protocol.passes = 1

[on.mlp]
learner.hidden = [[8], [16, 8]]

[on.er.learner]
network.hidden = [[8]]
optimizer.rate = [0.1, 0.3]

[on.permuted-digits]
protocol.passes = 2
"""


def test_every_combination_is_a_cell_with_its_values() -> None:
    points = read_grid(tomllib.loads(FILE), "grid.toml").points()
    labels = [(point.plan.stream_name, point.label) for point in points]
    one = ["mlp learner.hidden=[8]", "mlp learner.hidden=[16, 8]"]
    two = [f"er learner.network.hidden=[8] learner.optimizer.rate={rate}" for rate in ("0.1", "0.3")]
    assert labels == [(stream, label) for stream in ("split-digits", "permuted-digits") for label in (*one, *two)]
    assert {point.plan.seeds for point in points} == {(0, 4)}
    assert [point.plan.stream.protocol.passes for point in points] == [1] * 4 + [2] * 4
    assert points[1].plan.learner.learner.hidden == (16, 8)
    assert len({point.plan.fingerprint for point in points}) == 8


@pytest.mark.parametrize("value", [1, 0.3, 1e-7, True, "task-il", 'a "b"', [1, [2.5]], {"kind": "mlp", "hidden": [8]}])
def test_values_are_written_as_set_reads_them(value: object) -> None:
    assert toml_value(as_toml(value)) == value


def test_tables_are_dotted_keys() -> None:
    assert flat({"learner": {"a": 1, "b": {"c": [2]}}, "batch": 3}) == {"learner.a": 1, "learner.b.c": [2], "batch": 3}
    assert list(combinations({})) == [{}]
    assert len(list(combinations({"a": [1, 2], "b": [3, 4, 5], "c": 6}))) == 6


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"models": ["mlp"]}, "grid.toml: streams: is required"),
        ({"models": [], "streams": ["split-digits"]}, r"grid\.toml: models: must have at least 1 item, got \[\]$"),
        ({"models": ["mlp"], "streams": ["split-digits"], "model": 1}, r"model: is not a known key \(did you mean models\?\)"),
        ({"models": ["mlp"], "streams": ["split-digits"], "seeds": 0}, "seeds: must be how many .*, got 0$"),
        ({"models": ["mlp"], "streams": ["split-digits"], "seeds": [1, -1]}, r"seeds: must be how many .*, got \[1, -1\]$"),
        ({"models": ["mlp"], "streams": ["split-digits"], "precision": "f8"}, "precision: must be float32 or bf16, got 'f8'"),
        ({"models": ["mlp"], "streams": ["split-digits"], "budget": {"minutes": 0}}, "budget.minutes: must be greater than 0"),
    ],
)
def test_what_is_no_grid_is_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_grid(table, "grid.toml")


def problems_of(**table: object) -> list[str]:
    with pytest.raises(SpecError) as caught:
        read_grid({"streams": ["split-digits", "permuted-digits"], **table}, "grid").points()
    return list(caught.value.problems)


def test_all_that_is_wrong_with_the_cells_is_told_at_once_and_once() -> None:
    values = {"set": {"learner.rat": [0.1, 0.2], "protocol.pases": 2}, "on": {"eer": {"batch": 3}, "er": {"learner.rate": 1}}}
    told = problems_of(models=["mlp", "er"], **values)
    assert any(one.startswith("mlp on split-digits and 3 more: ") and "protocol.pases" in one for one in told)
    assert any(one.startswith("on.eer: is no model and no stream of the grid (did you mean er") for one in told)
    assert len(told) == len(set(told))
    (unlike,) = problems_of(models=["mlp"], on={"xyzzy": {"batch": 3}})
    assert unlike == "on.xyzzy: is no model and no stream of the grid (known: mlp, split-digits, permuted-digits)"
    (told_of_er,) = problems_of(models=["mlp", "er"], set={"learner.rate": [0.1, 0.2]})
    assert told_of_er.startswith("er on split-digits and 1 more: --set learner.rate: is not a known key")
    assert ["unknown model 'mpl'" in one for one in problems_of(models=["mpl"])] == [True]


def test_a_list_of_no_values_is_no_grid_of_no_cells() -> None:
    assert problems_of(models=["mlp"], set={"learner.rate": []})[0].startswith("mlp on split-digits and 1 more: learner.rate: []")
    (point,) = read_grid({"models": ["mlp"], "streams": ["split-digits"], "set": {"learner.hidden": [[]]}}, "grid").points()
    assert point.plan.learner.learner.hidden == ()
