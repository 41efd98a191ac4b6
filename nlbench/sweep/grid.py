"""A grid: models x streams x values, each point one plan. Declared in TOML, or by the options of `nlbench sweep`.

models = ["mlp", "er"]
streams = ["split-digits", "permuted-digits"]
seeds = 10

[set]
protocol.passes = 1                  # a fact of every cell
learner.hidden = [[64], [128]]       # a list: one cell for each of its values

[on.mlp]
learner.rate = [0.03, 0.1, 0.3]      # of this model alone, or of this stream
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from nlbench import plan as plans
from nlbench.errors import NlbenchError, SpecError
from nlbench.plan import PRECISIONS, Plan
from nlbench.specs import Closed
from nlbench.specs.problems import near, problems

Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


def _seeds(value: Any) -> list[int]:
    """Return the seeds that a number of them, or a list, means: sorted, each once."""
    if type(value) is int and value >= 1:
        return list(range(value))
    if isinstance(value, list) and value and all(type(seed) is int and 0 <= seed < 2**63 for seed in value):
        return sorted(set(value))
    raise PydanticCustomError("seeds", "must be how many seeds, at least 1, or a list of seeds, each at least 0")


def _precision(name: str) -> str:
    if name not in PRECISIONS:
        raise PydanticCustomError("precision", "must be {known}", {"known": " or ".join(PRECISIONS)})
    return name


class Within(Closed):
    """What a sweep may take: minutes until no more cells begin, and cells that begin at most. One that began is finished."""

    minutes: Annotated[float, Field(gt=0)] | None = None
    cells: Annotated[int, Field(ge=1)] | None = None


class Point(NamedTuple):
    """A cell of a grid: what tells it from its neighbours, and its plan."""

    values: dict[str, str]
    plan: Plan

    @property
    def label(self) -> str:
        """The model and the values that vary."""
        return " ".join([self.plan.model, *(f"{key}={text}" for key, text in self.values.items())])


class Grid(Closed):
    """Models x streams x values x seeds. A value that is a list is one cell for each of its elements."""

    title: str = ""
    models: Names
    streams: Names
    seeds: Annotated[list[int], BeforeValidator(_seeds)] = Field(default_factory=lambda: _seeds(10))
    precision: Annotated[str, AfterValidator(_precision)] = "float32"
    set: dict[str, Any] = Field(default_factory=dict)
    on: dict[str, dict[str, Any]] = Field(default_factory=dict)
    budget: Within = Within()

    def points(self) -> list[Point]:
        """Return every cell, streams outermost. Raises `SpecError` with all that is wrong with them, each rule once."""
        found: list[Point] = []
        wrong: dict[str, list[str]] = {}
        for stream, model in product(self.streams, self.models):
            values = {**flat(self.set), **flat(self.on.get(stream, {})), **flat(self.on.get(model, {}))}
            try:
                found += self._cells(model, stream, values)
            except NlbenchError as error:
                for problem in error.problems if isinstance(error, SpecError) else [str(error)]:
                    wrong.setdefault(problem, []).append(f"{model} on {stream}")
        told = [f"{_where(cells)}{problem}" for problem, cells in wrong.items()]
        named = [*self.models, *self.streams]
        told += [
            f"on.{name}: is no model and no stream of the grid{near(name, named, all_else=True)}"
            for name in self.on
            if name not in named
        ]
        if told:
            raise SpecError(told)
        return found

    def _cells(self, model: str, stream: str, values: Mapping[str, Any]) -> Iterator[Point]:
        if empty := [key for key, value in values.items() if value == []]:
            raise SpecError([f"{key}: [] is a list of no cells; the value [] is written [[]]" for key in empty])
        for overrides in combinations(values):
            plan = plans.resolve(model, stream, seeds=self.seeds, overrides=overrides, precision=self.precision)
            yield Point({key: text for key, text in overrides.items() if isinstance(values[key], list)}, plan)


def _where(cells: Sequence[str]) -> str:
    """Return which cells break a rule."""
    return f"{cells[0]}{f' and {len(cells) - 1} more' if len(cells) > 1 else ''}: "


def read_grid(table: Mapping[str, Any], place: str) -> Grid:
    """Return the grid that a table declares; `place` names it in errors. Raises `SpecError` with every broken rule."""
    try:
        return Grid.model_validate(dict(table))
    except ValidationError as error:
        raise SpecError(problems(error, place, Grid, table)) from None


def flat(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return the values of nested tables by their dotted keys, as a file may write them either way."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found


def combinations(values: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield the overrides of every combination, the last key innermost; a list is one point for each of its elements."""
    each = [value if isinstance(value, list) else [value] for value in values.values()]
    for point in product(*each):
        yield {key: as_toml(value) for key, value in zip(values, point, strict=True)}


def as_toml(value: Any) -> str:
    """Return a value as TOML in one line, as `--set` takes it."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{json.dumps(key)} = {as_toml(one)}' for key, one in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(as_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)
