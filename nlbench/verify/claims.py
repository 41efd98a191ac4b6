"""A claim: a published statement as data, the runs that try it, and what must hold of them.

title = "Penalties do not help where the task is not told"
statement = "In class-incremental split MNIST, EWC keeps no more than plain fine-tuning."
chapter = "field"
seeds = 10

[source]
paper = "van de Ven & Tolias 2019, arXiv 1904.07734"
place = "Table 4"

[cells.ewc]
model = "ewc"
stream = "split-mnist"
set = { "learner.hidden" = [400, 400] }

[cells.naive]
model = "mlp"
stream = "split-mnist"

[[holds]]
kind = "equality"
of = "ewc"
to = "naive"
within = 0.02

[quick.streams]
split-mnist = "split-mnist-5k"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from nlbench import catalog
from nlbench.errors import SpecError
from nlbench.metrics import METRICS
from nlbench.specs import Closed, digest, read_table
from nlbench.specs.problems import near, problems
from nlbench.verify.feasible import clash
from nlbench.verify.statements import Statement, Value, Words

Chapter = Literal["hope", "nested-learning", "field"]
"""Whose claim it is: this package's own, the paper's that it is about, or the field's."""


class Source(Closed):
    """Where it is published. `note` says what in our runs differs from the paper's."""

    paper: Words
    place: str = ""
    note: str = ""


class Runs(Closed):
    """What one name of a claim stands for: a recipe on a stream, with values of its own."""

    model: Words
    stream: Words
    set: dict[str, Any] = Field(default_factory=dict)


class Quick(Closed):
    """The reduced form: small streams in place of the paper's, other seeds, values that go before those of every run, and of
    single runs before these.
    """

    streams: dict[str, Words] = Field(default_factory=dict)
    seeds: Annotated[int, Field(ge=2)] | None = None
    set: dict[str, Any] = Field(default_factory=dict)
    cells: dict[str, dict[str, Any]] = Field(default_factory=dict)


class Claim(Closed):
    """A published statement, and what must hold for it to hold. Every part of `holds` is judged; all must hold.

    chapter where pages put it
    set     values of every run; a run's own go first
    search  how the values of the runs were found, and with what budget, where that is not said by their recipes
    """

    title: Words
    statement: Words
    source: Source
    chapter: Chapter = "field"
    search: str = ""
    seeds: Annotated[int, Field(ge=5)] = 10
    set: dict[str, Any] = Field(default_factory=dict)
    cells: Annotated[dict[str, Runs], Field(min_length=1)]
    holds: Annotated[list[Statement], Field(min_length=1)]
    quick: Quick | None = None

    @model_validator(mode="after")
    def _of_its_own_cells(self) -> Self:
        for number, statement in enumerate(self.holds):
            for name in statement.cells:
                if name not in self.cells:
                    raise ValueError(
                        f"holds.{number}: {name!r} is none of the cells{near(name, list(self.cells), all_else=True)}"
                    )
            if statement.metric not in METRICS:
                meant = near(statement.metric, list(METRICS))
                raise ValueError(f"holds.{number}.metric: must be a metric, got {statement.metric!r}{meant}")
            if METRICS[statement.metric].needs == "references":
                raise ValueError(
                    f"holds.{number}.metric: must be of one run, got {statement.metric!r}, which compares it with others. "
                    "Hold an order of their accuracies"
                )
            if beyond := _beyond(statement):
                raise ValueError(f"holds.{number}.{beyond}")
        unused = set(self.cells) - {name for statement in self.holds for name in statement.cells}
        if unused:
            raise ValueError(f"cells.{min(unused)}: nothing is held of it")
        streams = {cell.stream for cell in self.cells.values()}
        for stream in self.quick.streams if self.quick else ():
            if stream not in streams:
                raise ValueError(
                    f"quick.streams.{stream}: is no stream of its cells{near(stream, sorted(streams), all_else=True)}"
                )
        for name in self.quick.cells if self.quick else ():
            if name not in self.cells:
                meant = near(name, list(self.cells), all_else=True)
                raise ValueError(f"quick.cells.{name}: is none of the cells{meant}")
        return self

    @model_validator(mode="after")
    def _can_hold(self) -> Self:
        if numbers := clash(self.holds):
            *earlier, last = numbers
            others = " and ".join(f"holds.{number}" for number in earlier)
            of = ", ".join(dict.fromkeys(self.holds[number].metric for number in numbers))
            whatever = f"where {others} {'do' if len(earlier) > 1 else 'does'}" if earlier else f"whatever {of} is"
            raise ValueError(f"holds.{last}: cannot hold {whatever}")
        return self

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of what is claimed and how it is tried; not of its words."""
        words = {"title", "statement", "source", "chapter", "search"}
        said = self.model_dump(mode="json", exclude={**dict.fromkeys(words, True), "holds": {"__all__": {"cause"}}})
        return digest(said)


def _beyond(statement: Statement) -> str:
    """Return what no value of the metric could meet or miss, such as a share given in percent; empty if there is nothing."""
    low, high = METRICS[statement.metric].range
    if isinstance(statement, Value) and not low <= statement.equals <= high:
        return f"equals: must be between {low:g} and {high:g}, as {statement.metric} is, got {statement.equals:g}"
    for name in ("band", "within", "by"):
        if (margin := getattr(statement, name, 0.0)) >= high - low:
            return f"{name}: must be less than {high - low:g}, the whole range of {statement.metric}, got {margin:g}"
    return ""


def read_claim(path: Path) -> Claim:
    """Return the claim that a TOML file declares. Raises `SpecError` with every broken rule."""
    return claim_of(read_table(path), str(path))


def claim_of(table: Mapping[str, Any], place: str) -> Claim:
    """Return the claim that a table declares; `place` names it in errors. Raises `SpecError` with every broken rule."""
    try:
        return Claim.model_validate(dict(table))
    except ValidationError as error:
        raise SpecError(problems(error, place, Claim, table)) from None


def read_claims(names: Sequence[str] = ()) -> Iterator[tuple[str, Claim]]:
    """Yield the claims of these names or files, of the catalog if none are named, each with its name."""
    for name in names or catalog.names("claim"):
        path = catalog.find("claim", name)
        yield path.stem, read_claim(path)
